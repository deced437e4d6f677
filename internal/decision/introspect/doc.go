// Package introspect says how the holder of a token stands now (RFC 7662), for those who only ask who
// somebody is and decide themselves.
//
// What comes in: a token, from an enforcement point. What is true of "active": true: the enforcement point
// was authenticated with this request and may ask this way; the token was verified, and its subject was
// attested, trusted and not held when its state was read, after the request came. What is not shown: that
// the holder may do anything; that is a decision.
//
// A state that cannot be told has status 503 and no "active" at all: it is neither.
package introspect
