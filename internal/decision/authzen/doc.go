// Package authzen answers questions in the form of OpenID's Authorization API 1.0 (AuthZEN), with
// obligations as in its Obligations profile.
//
// What comes in: a request of an enforcement point. What is true of an answer "decision": true: the
// enforcement point was authenticated with this request, may ask this way and speaks for the resource's
// tenant; the caller is whoever its credential shows, and subject.id is the same; the decision was made and
// recorded. What an enforcement point says of the caller's risk, attestation, tenant, ring or groups is not
// read at all: that attestd knows, or nobody does. What is not shown: that labels of the context are true.
//
// A question that cannot be decided is a denial with status 200, never an error that a client could take
// for leave; errors are about the request: its form, its sender and its rate.
package authzen
