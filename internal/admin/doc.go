// Package admin answers the people and programs that run attestd, below /v1/admin/.
//
// What comes in are requests over the unix socket with the bootstrap token, or over attestd's own
// mutual TLS. What is true of a request that reaches the part that carries it out: its sender was
// authenticated with this very request, has one of the route's roles, and is bounded in what it sends;
// it was or will be written into the audit log, and so was every one that was refused. What is not
// shown: that an order may be given to this subject. The parts that carry orders out ask the
// [operator.Principal] for that, each for the tenant of what it touches.
//
// Of another tenant's things nothing can be learned: they look like things that are not there.
package admin
