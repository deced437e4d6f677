// Package svidext reads and writes the extension in which X.509-SVIDs say what attestd knew of the
// nodes that they were issued for.
//
// What comes in is a certificate that the caller has verified to its trust bundle (as go-spiffe does),
// or the bytes of the extension. What is true of an [Info] that [Parse] returned: the bytes were the one
// DER encoding of it, and every value is within its range. What is not shown: anything about now. The
// extension says what held when the certificate was issued; ask attestd for the state of this moment.
//
// An extension that is absent or cannot be read is never a low risk: the zero [Info] is not attested,
// with risk 100.
package svidext
