// Package certpath has the parts of X.509 path checking that verifiers share and crypto/x509 does not
// offer apart from its own path building: how long a path may be, and whether a certificate is
// spelled in the one way that its issuer signed. What comes in are parsed certificates. Nothing is
// shown about names, times, keys, usages or signatures.
package certpath

import (
	"bytes"
	"crypto/x509"
)

// Length returns the pathLenConstraint of RFC 5280 section 4.2.1.9, -1 where there is none.
func Length(certificate *x509.Certificate) int {
	if !certificate.BasicConstraintsValid ||
		(certificate.MaxPathLen == 0 && !certificate.MaxPathLenZero) {
		return -1
	}
	return certificate.MaxPathLen
}

// RoomBelow returns how many CA certificates may follow certificate, where room is how many may
// follow its issuer; -1 stands for any number. It is RFC 5280 section 6.1.4 (l) and (m): every CA uses
// one place of what its issuers allow, and may allow less itself.
func RoomBelow(room int, certificate *x509.Certificate) int {
	if room > 0 {
		room--
	}
	if own := Length(certificate); own >= 0 && (room < 0 || own < room) {
		room = own
	}
	return room
}

// WholeBytes reports whether the certificate's signature is spelled as whole bytes. The parser shifts
// away the bits that a BIT STRING calls unused, so that half of all signatures could be spelled a
// second time: one certificate with two digests, of which its issuer signed one.
func WholeBytes(certificate *x509.Certificate) bool {
	return bytes.HasSuffix(certificate.Raw, append([]byte{0}, certificate.Signature...))
}
