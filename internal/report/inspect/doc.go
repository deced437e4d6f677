// Package inspect decodes what is not evidence of any format but is often looked at beside it:
// X.509 certificates and CRLs (DER or PEM) and any other CBOR.
//
// What comes in is hostile bytes. If an inspection comes back, the bytes have that encoding. What is
// not shown is anything else: no signature, chain or time is looked at, and nothing here leads to a
// claim.
package inspect
