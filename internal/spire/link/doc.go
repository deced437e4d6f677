// Package link is the way between attestd, its SPIRE plugins and its controller: JSON documents in
// frames over a stream. Both ends may call, both may send notices, and answers come in any order.
//
// What comes in: a connection whose peer is known by its uid or its certificate ([Peer]), and frames
// that this peer chose. What is true of what a [Handler] gets: the frame had its one spelling, is
// within its limit, and no memory was set aside for bytes that did not come; the body is one JSON
// value, of which [Decode] accepts one spelling of each key. What is true of an answer: it is the
// peer's to the call with this id, which was asked and not yet answered. What is not shown: that a peer
// may say what it says; that is the handler's to decide, by the peer and the method.
//
// A frame is its length in four bytes (big endian) and one of
//
//	{"id":7,"ms":2000,"method":"grant","body":{…}}   a call; ms is how long the caller will wait
//	{"method":"snapshot","body":{…}}                 a notice, which is not answered
//	{"id":7,"result":{…}}                             an answer
//	{"id":7,"error":{"class":…,"message":…}}          an answer that is an [Error]
//	{"error":{"class":…,"message":…}}                 the last frame: why the link is closed
//
// with these keys in this order and nothing between them. A peer that breaks a rule of the frames (a
// length over the limit, another spelling, an id in use, an answer to nothing) loses its link, since
// nothing that follows can be trusted to mean what it says. A body that cannot be read or a handler
// that panics costs the one call alone.
//
// A link says nothing of whether a call was carried out where its answer did not come: that error is
// undecided ([ErrUnreached]), and never a pass.
package link
