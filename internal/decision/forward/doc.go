// Package forward answers the requests that proxies make about requests of their own: nginx's
// auth_request, Caddy's forward_auth and Traefik's forwardAuth.
//
// What comes in: a proxy's request with the headers of its caller, and, as the query of its URL, what the
// proxy's configuration says of the route. What is true of a 204: the proxy was authenticated with this
// request, may ask this way and speaks for the route's tenant; the caller is whoever its token or
// certificate shows; the decision allowed, was recorded, and binds to nothing that a proxy cannot do. What
// is not shown: that the proxy hands on the request that it asked about, and nothing else of the caller's
// X-Attestd- headers; docs/deploy has configurations that do.
//
// The action, the resource and its tenant come from the query alone, which the caller has no hand in. Of
// the caller's headers count one with its credential and, where the route leaves it to them, the method
// and the path as the proxy wrote them.
package forward
