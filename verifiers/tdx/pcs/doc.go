// Package pcs reads what Intel's Provisioning Certification Service (PCS, API version 4) states about
// processors: TCB information, the identity of the quoting enclave, and what a PCK certificate says of
// the platform that it was issued to.
//
// What comes in are bytes that somebody fetched or kept. What is true where a reader returns no error:
// the bytes are one JSON value in the one spelling in which every reader sees the same (no duplicate
// key, no byte order mark, nothing behind it), every field that matters is there, in its form and its
// bounds, every status is a known one, and levels stand in an order that can be searched from the top.
// After [TCBInfo.SignedBy] or [Identity.SignedBy] the key of a [Signer], which a root certified, signed
// the very bytes of the object inside.
//
// What is not shown: that a document is current or the newest, that its signer was not revoked, that
// certificates are valid at a time, and that it is about a given platform. Nothing here fetches, and
// nothing is read before it was signed that may be believed: Subject, Kind and Header are for sorting.
package pcs
