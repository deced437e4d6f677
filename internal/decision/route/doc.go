// Package route reads what the configuration of a proxy says about the requests that take one of its
// routes, and what can be said of a request where the configuration is silent. Envoy's ext_authz says it
// by context extensions, forward-auth by a query; what the words mean is one thing, and stands here.
package route
