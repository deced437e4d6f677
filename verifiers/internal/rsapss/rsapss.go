// Package rsapss verifies the one kind of RSA signature that AMD's signing keys make: RSASSA-PSS
// with a modulus of 4096 bits, exponent 65537, SHA-384, MGF1 with SHA-384 and a salt of 48 bytes
// (AMD 57230 rev 0.50; RFC 8017, section 8.1).
//
// What comes in: such a key, a SHA-384 digest and a signature. What is true if Verify returns true:
// the signature is valid by RFC 8017, section 8.1.2. What is not shown: whose key it is.
//
// crypto/rsa prepares the modulus anew for each signature, in arithmetic that takes constant time
// for the sake of secrets; here all is public, and a verification takes half of its time. The tests
// hold it against crypto/rsa and against Wycheproof's cases.
package rsapss

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha512"
	"errors"
	"math/big"
)

// Sizes in bytes: of the modulus, a signature and an encoded message; of the hash; of the salt.
const (
	Size     = 512
	bits     = 8 * Size
	hashSize = sha512.Size384
	saltSize = hashSize
)

// trailer ends every encoded message (RFC 8017, section 9.1.1, step 12).
const trailer = 0xbc

// Key is a public key. The zero Key verifies nothing. It is safe for concurrent use.
type Key struct {
	modulus *big.Int
	// quotient is 2^8192 divided by the modulus: with it a remainder takes two multiplications in
	// place of a division (Barrett's reduction: Handbook of Applied Cryptography, algorithm 14.42).
	quotient *big.Int
}

// NewKey returns the key for public.
//
// Errors: where public is nil, its modulus does not have 4096 bits or is even, or its exponent is
// not 65537. With the exponent 1 every message would be its own signature.
func NewKey(public *rsa.PublicKey) (Key, error) {
	switch {
	case public == nil || public.N == nil || public.N.Sign() <= 0 || public.N.BitLen() != bits:
		return Key{}, errors.New("not an RSA key of 4096 bits")
	case public.N.Bit(0) == 0:
		return Key{}, errors.New("the modulus is even")
	case public.E != 65537:
		return Key{}, errors.New("the exponent is not 65537")
	}
	quotient := new(big.Int).Lsh(big.NewInt(1), 2*bits)
	return Key{modulus: new(big.Int).Set(public.N), quotient: quotient.Div(quotient, public.N)}, nil
}

// Verify reports whether signature is the key's over the SHA-384 digest.
func (k Key) Verify(digest, signature []byte) bool {
	if k.modulus == nil || len(digest) != hashSize || len(signature) != Size {
		return false
	}
	// RFC 8017, section 5.2.2, step 1: s is below n. Without it a signature has several spellings.
	s := new(big.Int).SetBytes(signature)
	if s.Cmp(k.modulus) >= 0 {
		return false
	}
	var encoded [Size]byte
	k.open(s).FillBytes(encoded[:])
	return isEncoded(&encoded, digest)
}

// open returns s^65537 modulo the modulus, for s below it: 16 squarings and a multiplication.
func (k Key) open(s *big.Int) *big.Int {
	power, product := new(big.Int).Set(s), new(big.Int)
	var space division
	for range 16 {
		product.Mul(power, power)
		k.remainder(power, product, &space)
	}
	product.Mul(power, s)
	k.remainder(power, product, &space)
	return power
}

// division is space that remainders share.
type division struct{ estimate, multiple big.Int }

// remainder sets out to product modulo the modulus, for a product from 0 to 2^8192-1, and says how
// often the modulus had to be taken off in the end. As the modulus has 4096 bits, the estimate of
// the quotient is never too great and at most 2 too small, which is how often.
func (k Key) remainder(out, product *big.Int, space *division) (corrections int) {
	space.estimate.Rsh(product, bits-1)
	space.multiple.Mul(&space.estimate, k.quotient)
	space.estimate.Rsh(&space.multiple, bits+1)
	space.multiple.Mul(&space.estimate, k.modulus)
	out.Sub(product, &space.multiple)
	for ; out.Cmp(k.modulus) >= 0; corrections++ {
		out.Sub(out, k.modulus)
	}
	return corrections
}

// isEncoded does EMSA-PSS-VERIFY (RFC 8017, section 9.1.2) for 4095 bits; encoded is overwritten.
func isEncoded(encoded *[Size]byte, digest []byte) bool {
	const dataSize = Size - hashSize - 1
	data, hash := encoded[:dataSize], encoded[dataSize:Size-1]
	// Steps 4 and 6: the trailer, and the one bit beyond the 4095.
	if encoded[Size-1] != trailer || data[0]&0x80 != 0 {
		return false
	}
	unmask(data, hash)
	data[0] &= 0x7f // step 9
	// Step 10: zeros, then 1, then the salt.
	const padding = dataSize - saltSize - 1
	if !bytes.Equal(data[:padding], make([]byte, padding)) || data[padding] != 1 {
		return false
	}
	// Steps 12 to 14.
	again := sha512.New384()
	again.Write(make([]byte, 8))
	again.Write(digest)
	again.Write(data[padding+1:])
	var want [hashSize]byte
	return bytes.Equal(again.Sum(want[:0]), hash)
}

// unmask takes MGF1 of seed (RFC 8017, appendix B.2.1) off data.
func unmask(data, seed []byte) {
	var input [hashSize + 4]byte
	copy(input[:], seed)
	for block := byte(0); len(data) > 0; block++ { // ten blocks
		input[hashSize+3] = block
		mask := sha512.Sum384(input[:])
		size := min(len(data), len(mask))
		for index := range size {
			data[index] ^= mask[index]
		}
		data = data[size:]
	}
}
