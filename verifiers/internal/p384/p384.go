// Package p384 verifies ECDSA signatures over P-384, the one operation that AWS Nitro documents and
// AMD SEV-SNP reports both pay for.
//
// What comes in: a public key that crypto/ecdsa accepted, a SHA-384 digest and a signature (r, s)
// of 48 big-endian bytes each. What is true if Verify returns true: the signature is valid by FIPS
// 186-5, section 6.4.2. What is not shown: whose key it is.
//
// On amd64 and arm64 the arithmetic is this package's own, for public inputs only: it takes no
// constant time. What FIPS 186-5 demands of the inputs is checked before it: the point is on the
// curve, r and s are in [1, n-1], the digest is of the curve's size. A result at infinity is no
// signature. The tests hold it against crypto/ecdsa and against circl, and its points against every
// exceptional case of the addition. Elsewhere, and with the build tag purego, crypto/ecdsa does the
// work.
//
// A new key costs about a third of the time of crypto/ecdsa. One that is seen again gets a table of
// its multiples, with which a verification takes a seventh. Making a table costs less than a
// verification without one; it is made for a key that verified a signature before, or that its
// owner asks for (a certificate authority), so that whoever sends made-up signatures gets none. The
// table belongs to the Key and to its copies, 6 KB, and goes with the last of them: whoever keeps
// keys bounds how many.
package p384

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"math/big"
)

// Size of a coordinate, a scalar and a digest in bytes.
const Size = 48

// Key is a public key on P-384. The zero Key verifies nothing. It is safe for concurrent use.
type Key struct {
	public *ecdsa.PublicKey
	x, y   *big.Int
	memory *memory
}

// NewKey returns the key for public, of which it keeps a copy.
//
// Errors: where public is nil, on another curve, or not a point of the curve, or where coordinates
// are missing, negative or not below p. Without the check of the curve an attacker who chooses
// coordinates off it, or (0, 0), could forge signatures.
func NewKey(public *ecdsa.PublicKey) (Key, error) {
	if public == nil || public.Curve != elliptic.P384() {
		return Key{}, errors.New("not a P-384 key")
	}
	//lint:ignore SA1019 crypto/ecdsa panics without them, and tells in no other way
	if public.X == nil || public.Y == nil {
		return Key{}, errors.New("not a point of P-384: no coordinates")
	}
	encoded, err := public.Bytes() // refuses all the rest
	if err != nil {
		return Key{}, fmt.Errorf("not a point of P-384: %w", err)
	}
	x := new(big.Int).SetBytes(encoded[1 : 1+Size])
	y := new(big.Int).SetBytes(encoded[1+Size:])
	return Key{
		//lint:ignore SA1019 the point was checked: parsing it would check it once more
		public: &ecdsa.PublicKey{Curve: elliptic.P384(), X: x, Y: y},
		x:      x,
		y:      y,
		memory: new(memory),
	}, nil
}

// Equal reports whether both are the same point; zero keys equal nothing.
func (k Key) Equal(other Key) bool {
	return k.public != nil && other.public != nil && k.public.Equal(other.public)
}

// order is the order n of the base point, and the same in big-endian bytes.
var (
	order      = elliptic.P384().Params().N
	orderBytes = [Size]byte(order.FillBytes(make([]byte, Size)))
)

// InRange reports whether scalar is 48 bytes long and in [1, n-1], as r and s of a signature must
// be (FIPS 186-5, section 6.4.2, step 1).
func InRange(scalar []byte) bool {
	return len(scalar) == Size && !bytes.Equal(scalar, make([]byte, Size)) &&
		bytes.Compare(scalar, orderBytes[:]) < 0
}

// Verify reports whether (r, s) is a signature of digest by the key. r and s are 48 bytes each, big
// endian; a digest of any other length than SHA-384's 48 bytes is refused, not cut or padded.
func (k Key) Verify(digest, r, s []byte) bool {
	if k.public == nil || len(digest) != Size || !InRange(r) || !InRange(s) {
		return false
	}
	return k.verify(digest, new(big.Int).SetBytes(r), new(big.Int).SetBytes(s))
}

// verifyPlain is the same by crypto/ecdsa.
func (k Key) verifyPlain(digest []byte, r, s *big.Int) bool {
	return ecdsa.Verify(k.public, digest, r, s)
}
