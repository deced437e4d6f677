// Package nodeca is the CA of the client certificates that nodes show to attestd. It certifies the key
// that a node's evidence has bound, and nothing else; it is no part of any workload's trust, and another
// CA than that of attestd's operators.
//
// What comes in: a key and a SPIFFE ID that attestd has verified ([CA.Issue]), and a TLS connection of
// whoever has dialled ([CA.Identify]). What is true where Identify returns no error: this CA certified
// the key for that one id, the certificate is in force now, is for clients alone and of the one form
// that Issue gives it, and the peer has proved on this connection, and not on an earlier one, to have
// the key. What is not shown: what holds for the node now. A certificate cannot be recalled; whoever
// answers asks the registry about the id.
package nodeca
