// Package front is the side of attestd that SPIRE's plugins, attestd's controller and the plugins on
// nodes talk to. It knows who is there and what they may ask, and decides nothing itself: that is the
// office's (internal/issuance).
//
// What comes in: links over a unix socket, whose peers are known by their uid, and over TLS, whose
// peers show a certificate of an operator or of the node CA. What is true of a call that reaches the
// office: its peer has the role that the method is for, now and not only when it connected; its
// document was read strictly. Who has which role:
//
//   - issuer: uids that are named, and operators with the role issuer for every tenant: node.begin,
//     node.finish, grant, report;
//   - controller: root and attestd's own uid on the unix socket, which are issuers as well: map,
//     orders, reached, canary, take-state, keep-state. One link at a time is the controller: the last
//     that asked for its state;
//   - node: certificates of the node CA: watch, and of the one node that the certificate names.
//
// Everything else is FORBIDDEN and noted. What is not shown: that a node that watches is in any good
// standing. Whoever is held is told so, by a snapshot that admits it to nothing.
package front
