// Package enforcer knows the enforcement points: who may ask for decisions, and what each may ask.
//
// What comes in: a connection (the uid at the other end of a unix socket, or a TLS client's certificates)
// and at most one bearer token, and the document that names enforcement points. What is true of an
// [Enforcer] that [Book.Of] or [Book.OfCall] returned: exactly one of its ways of being known was shown
// with this very request, it has the right that was asked for, and nothing is held against its name. What
// is not shown: that it does as it is told, nor that a caller is who it says; callers are known by their
// own credentials.
//
// Of a tenant that it does not speak for, an enforcement point learns nothing: every question about one
// has the same answer as a question about a tenant that is not there.
package enforcer
