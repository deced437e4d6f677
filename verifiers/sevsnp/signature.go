package sevsnp

import (
	"crypto/sha512"
	"encoding/binary"
	"fmt"

	"github.com/attestd/attestd/verifiers/internal/p384"
)

// A signature field holds R and S as little-endian numbers of 72 bytes, then zeros (AMD 56860
// rev 1.58, chapter 10). P-384 needs 48 of the 72.
const (
	scalarSize  = 48
	scalarField = 72
)

// checkSignatureEncoding demands the one encoding that a signature has: algorithm 1, zero padding,
// 0 < r < n, 0 < s < n. Without it the same report has many encodings, and r = 0 reaches the
// arithmetic.
func (r report) checkSignatureEncoding() *fault {
	if algorithm := r.u32(offAlgorithm); algorithm != 1 {
		return refuse(checkSignatureFormat, fmt.Sprintf("signature algorithm %d", algorithm),
			"1 (ECDSA P-384 with SHA-384)")
	}
	field := r.raw[signedSize:]
	if !allBytes(field[scalarSize:scalarField], 0) ||
		!allBytes(field[scalarField+scalarSize:], 0) {
		return refuse(checkSignatureFormat, "bytes behind R or S are not zero", "zero padding")
	}
	for index, name := range []string{"R", "S"} {
		scalar := bigEndian(field[index*scalarField:])
		switch {
		case allBytes(scalar[:], 0):
			return refuse(checkSignatureFormat, name+" is zero", "a number from 1 to n-1")
		case !p384.InRange(scalar[:]):
			return refuse(checkSignatureFormat, name+" is not below the order of P-384",
				"a number from 1 to n-1")
		}
	}
	return nil
}

// signedBy verifies the report's signature over its first 672 bytes.
func (r report) signedBy(key p384.Key) bool {
	digest := sha512.Sum384(r.raw[:signedSize])
	field := r.raw[signedSize:]
	first, second := bigEndian(field), bigEndian(field[scalarField:])
	return key.Verify(digest[:], first[:], second[:])
}

// bigEndian returns the first 48 bytes of a little-endian field in big-endian order.
func bigEndian(field []byte) (out [scalarSize]byte) {
	for i := range scalarSize / 8 {
		binary.BigEndian.PutUint64(out[scalarSize-8*(i+1):], binary.LittleEndian.Uint64(field[8*i:]))
	}
	return out
}
