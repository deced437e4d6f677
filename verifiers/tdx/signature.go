package tdx

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"sync/atomic"

	"github.com/attestd/attestd"
)

// counter counts public-key verifications, and allows a call only so many of them.
type counter struct {
	total *atomic.Uint64
	left  int
}

var errBudget = errors.New("too many signatures to verify")

// take uses up one verification; false where none is left.
func (c *counter) take() bool {
	if c.left == 0 {
		return false
	}
	c.left--
	c.total.Add(1)
	return true
}

// spent is the fault of a check for which no verification was left.
func spent(check attestd.CheckID) *fault {
	return refuseAs(check, attestd.ClassTooLarge, "too many signatures to verify",
		"a handful, as an honest quote has").because(errBudget)
}

// orderP256 is the order of the base point of P-256 (SP 800-186, section 3.2.1.3).
var orderP256 = [32]byte{
	0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
}

// checkSignatureEncoding demands of a raw signature R || S that both are from 1 to n-1 (FIPS 186-5,
// section 6.4.2): zero and what is not reduced must not reach the arithmetic.
func checkSignatureEncoding(whose string, raw []byte) *fault {
	for index, name := range [...]string{"R", "S"} {
		scalar := raw[32*index : 32*index+32]
		switch {
		case allZero(scalar):
			return refuse(checkSignatureFormat, name+" of "+whose+" is zero", "a number from 1 to n-1")
		case bytes.Compare(scalar, orderP256[:]) >= 0:
			return refuse(checkSignatureFormat, name+" of "+whose+" is not below the order of P-256",
				"a number from 1 to n-1")
		}
	}
	return nil
}

// signed verifies a raw signature over SHA-256 of message. The scalars were looked at before.
func signed(key *ecdsa.PublicKey, message, raw []byte) bool {
	digest := sha256.Sum256(message)
	var room [72]byte
	return ecdsa.VerifyASN1(key, digest[:], derSignature(room[:0], raw))
}

// derSignature writes R || S as SEQUENCE { INTEGER, INTEGER }, which crypto/ecdsa takes.
func derSignature(out, raw []byte) []byte {
	out = append(out, 0x30, 0)
	for _, scalar := range [...][]byte{raw[:32], raw[32:64]} {
		for len(scalar) > 1 && scalar[0] == 0 {
			scalar = scalar[1:]
		}
		if scalar[0] >= 0x80 {
			out = append(out, 0x02, byte(len(scalar)+1), 0)
		} else {
			out = append(out, 0x02, byte(len(scalar)))
		}
		out = append(out, scalar...)
	}
	out[1] = byte(len(out) - 2) //nolint:gosec // at most 70
	return out
}

// publicKey returns the key of X || Y where it is a point of P-256 other than infinity.
func publicKey(raw []byte) (*ecdsa.PublicKey, error) {
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, raw...))
}
