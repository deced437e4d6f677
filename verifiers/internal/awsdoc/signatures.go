package awsdoc

import (
	"crypto/ecdsa"
	"crypto/sha512"
	"fmt"
	"sync/atomic"

	"github.com/attestd/attestd/verifiers/internal/p384"
)

// signatureSize is the length of an ES384 signature: r || s (RFC 9053 section 2.1).
const signatureSize = 2 * p384.Size

// signatures makes the public-key operations of an engine and counts them.
type signatures struct{ made atomic.Uint64 }

// newKey returns the key in public, as crypto/x509 gives it.
//
// Errors: for any other kind of key, and any other curve. A caller that does not ask would verify
// with a weaker curve whatever the header said about the algorithm.
func newKey(public any) (p384.Key, error) {
	key, ok := public.(*ecdsa.PublicKey)
	if !ok {
		return p384.Key{}, fmt.Errorf("public key is %T, want ECDSA on P-384", public)
	}
	return p384.NewKey(key)
}

// verifyMessage reports whether signature, an ECDSA-Sig-Value in DER (RFC 5480 appendix A), is by key
// over the SHA-384 of message.
func (s *signatures) verifyMessage(key p384.Key, message, signature []byte) bool {
	var pair [signatureSize]byte
	if !readDER(&pair, signature) {
		return false
	}
	return s.verifyDigest(key, sha512.Sum384(message), pair[:])
}

// verifyDigest reports whether signature, as r || s with 0 < r, s < n, is by key over digest.
func (s *signatures) verifyDigest(
	key p384.Key, digest [sha512.Size384]byte, signature []byte,
) bool {
	if len(signature) != signatureSize {
		return false
	}
	s.made.Add(1)
	return key.Verify(digest[:], signature[:p384.Size], signature[p384.Size:])
}

// readDER reads SEQUENCE { INTEGER r, INTEGER s } with positive numbers in their shortest form (X.690
// section 8.3.2) and nothing behind, into r || s.
func readDER(pair *[signatureSize]byte, der []byte) bool {
	// Two integers of up to 49 bytes each: every length fits one byte below 128.
	if len(der) < 2 || der[0] != 0x30 || der[1] >= 0x80 || int(der[1]) != len(der)-2 {
		return false
	}
	rest := der[2:]
	for _, part := range [2][]byte{pair[:p384.Size], pair[p384.Size:]} {
		if len(rest) < 2 || rest[0] != 0x02 {
			return false
		}
		length := int(rest[1])
		if length == 0 || length > len(rest)-2 {
			return false
		}
		number := rest[2 : 2+length]
		rest = rest[2+length:]
		if number[0] >= 0x80 || (number[0] == 0 && (length == 1 || number[1] < 0x80)) {
			return false
		}
		if number[0] == 0 {
			number = number[1:]
		}
		if len(number) > p384.Size {
			return false
		}
		copy(part[p384.Size-len(number):], number)
	}
	return len(rest) == 0
}
