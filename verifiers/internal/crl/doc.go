// Package crl reads X.509 certificate revocation lists as RFC 5280, section 5, has them.
//
// What comes in are bytes in DER and the certificate of an issuer. What is true of a [List]: the
// issuer's key signed these very bytes, the issuer's key usage allows that, and each serial number
// in it was looked at, so that a question about one costs the same however long the list is.
// Entries are read only behind a signature that holds: a list that somebody made up costs one
// signature and no more memory than its bytes.
//
// What is not shown: that the list is current, that no newer one exists, that the issuer is one to
// be trusted, and that the list is about a given certificate. [List.Covers], [List.Number] and
// [List.Points] are for the caller to judge these by. A list with [List.Unusable] is authentic and
// says something that is not understood here; nothing may be concluded from it.
package crl
