// Package host is what attestd's SPIRE plugins have in common: how one starts, stays alive, is
// configured, and says what went wrong.
//
// SPIRE starts a plugin once and never again: after its death no SVID is issued (or, on an agent, none
// renewed) until SPIRE itself is restarted, while its health check stays green. So a plugin is two
// processes. The supervisor speaks go-plugin's handshake and owns the listening socket; it runs none of
// the plugin's code. The child serves gRPC on that socket. When a child dies, the supervisor starts
// another one with the configuration that was accepted last; SPIRE's gRPC client connects to the same
// socket again, and a call that comes in between waits in the socket's queue.
//
// What comes in: SPIRE's calls over a socket in a folder of mode 0700 that nobody else can
// replace, and configuration in HCL. What is
// true where a call reaches the plugin's code: it is within size, it has a deadline, and a panic in it
// ends that call alone. No answer of a plugin is ever Unimplemented, which SPIRE takes for "leave it as
// it is", not even to a call that this version does not know. What is not shown: who is at the other
// end of the socket. Whoever runs as the same user may call the plugin, as he may SPIRE's own sockets.
package host
