// Package extauthz answers Envoy's external authorization filter: the service
// envoy.service.auth.v3.Authorization of Envoy's API (external_auth.proto, attribute_context.proto), over
// gRPC.
//
// What comes in is a CheckRequest of an enforcement point that was authenticated. The request that it is
// about was sent by the caller: everything in its HTTP part is what an attacker chose. What the route's
// configuration says (context_extensions) is the operator's, and only there the action, the resource, the
// tenant and the kind of credential come from; labels are read from the one namespace of dynamic metadata
// that the route names. What is true of an answer OK: a decision allowed the request, and the enforcement
// point can carry out what it is bound to; headers of ours that the caller sent are overwritten or gone
// behind Envoy. What is not shown: that Envoy refuses where there is no answer (failure_mode_allow must be
// off), and that it ended the caller's TLS connection itself, which only an enforcement point with the
// right to vouch may say.
//
// What could not be decided is a denied_response with status 503, never an error_response and never an
// error of gRPC: those two are what failure_mode_allow lets pass.
package extauthz
