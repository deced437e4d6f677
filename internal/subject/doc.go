// Package subject says what a subject is, in which state it can be, and what moves it from one to
// another. A subject is an identity over time: a name (a SPIFFE ID), the hardware it was last seen on,
// whose that is, and what is held against it.
//
// Everything here is pure: what comes in is what the registry knows and what happened, what comes out
// is one [Write], which the registry carries out as a whole or not at all. What is true of a Write
// that was carried out: nothing it was decided upon had changed meanwhile, and no hold was missed.
// What is not shown here: that evidence is authentic (the judge's matter), or that a write is durable
// (the registry's).
package subject
