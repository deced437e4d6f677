package sevsnp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
)

// A signature field holds R and S as little-endian numbers of 72 bytes, then zeros (AMD 56860
// rev 1.58, chapter 10). P-384 needs 48 of the 72.
const (
	scalarSize  = 48
	scalarField = 72
)

var orderP384 = elliptic.P384().Params().N.FillBytes(make([]byte, scalarSize))

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
		if allBytes(scalar[:], 0) {
			return refuse(checkSignatureFormat, name+" is zero", "a number from 1 to n-1")
		}
		if bytes.Compare(scalar[:], orderP384) >= 0 {
			return refuse(checkSignatureFormat, name+" is not below the order of P-384",
				"a number from 1 to n-1")
		}
	}
	return nil
}

// signedBy verifies the report's signature over its first 672 bytes.
func (r report) signedBy(key *ecdsa.PublicKey) bool {
	digest := sha512.Sum384(r.raw[:signedSize])
	field := r.raw[signedSize:]
	return ecdsa.VerifyASN1(key, digest[:], derSignature(
		bigEndian(field), bigEndian(field[scalarField:])))
}

// derSignature writes SEQUENCE { INTEGER r, INTEGER s } for scalars that are not zero.
func derSignature(r, s [scalarSize]byte) []byte {
	out := make([]byte, 2, 2*(scalarSize+3)+2)
	for _, scalar := range [...][scalarSize]byte{r, s} {
		digits := bytes.TrimLeft(scalar[:], "\x00")
		if digits[0] >= 0x80 {
			out = append(out, 0x02, byte(len(digits)+1), 0)
		} else {
			out = append(out, 0x02, byte(len(digits)))
		}
		out = append(out, digits...)
	}
	out[0], out[1] = 0x30, byte(len(out)-2)
	return out
}

// bigEndian returns the first 48 bytes of a little-endian field in big-endian order.
func bigEndian(field []byte) (out [scalarSize]byte) {
	for i := range scalarSize / 8 {
		binary.BigEndian.PutUint64(out[scalarSize-8*(i+1):], binary.LittleEndian.Uint64(field[8*i:]))
	}
	return out
}
