// Package nodeattestor is the SPIRE server's half of the node attestor: it carries the messages of
// a node's attestation to attestd and attestd's verdict back to SPIRE. It judges nothing itself.
//
// What comes in: the messages of package attestwire, from anybody who can reach the SPIRE server.
// What is true where SPIRE gets attributes: attestd accepted evidence for a challenge that it made
// for this exchange, and named agent id and selectors itself; the id lies inside
// spiffe://TRUST-DOMAIN/spire/agent/attestd/, each selector is in attestd's alphabet, and the node
// is of the tenant that was asked for. What is not shown: that the agent at the other end of
// SPIRE's connection holds the key that the evidence binds. SPIRE shows a node attestor neither the
// CSR nor the connection, so the composer asks attestd for the key's ticket before anything is
// signed.
//
// Whatever else happens, nothing is issued. attestd out of reach, or an answer that is none, is
// Unavailable; refused evidence is PermissionDenied with the id of its appraisal; messages that are
// not those of attestwire in their order are InvalidArgument; a node that says nothing for thirty
// seconds is DeadlineExceeded. There are no selectors that a node gets without a verdict.
package nodeattestor
