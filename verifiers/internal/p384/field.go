//go:build !purego && (amd64 || arm64)

package p384

import (
	"math/big"
	"math/bits"
)

// element is a number modulo p = 2^384 - 2^128 - 2^96 + 2^32 - 1 (SP 800-186, section 3.2.1.4) in
// Montgomery's form, that is times 2^384, least significant word first. It is always below p, so
// that equal numbers are equal words.
//
// Nothing here takes constant time: keys, digests and signatures are public.
type element [6]uint64

// The words of p.
const (
	prime0 = 0x00000000ffffffff
	prime1 = 0xffffffff00000000
	prime2 = 0xfffffffffffffffe
	primeN = 0xffffffffffffffff // the third and those above it
)

var (
	prime = words{prime0, prime1, prime2, primeN, primeN, primeN}.integer()
	// one is 2^384 mod p = 2^128 + 2^96 - 2^32 + 1.
	one = element{0xffffffff00000001, 0x00000000ffffffff, 1}
	// squareOfR is 2^768 mod p; a multiplication by it leads into Montgomery's form.
	squareOfR = element(wordsOf(new(big.Int).Exp(big.NewInt(2), big.NewInt(2*384), prime)))
)

// words is a plain number below 2^384, least significant word first.
type words [6]uint64

// wordsOf cuts a number from 0 to 2^384-1 into words, whatever the size of a big.Word is.
func wordsOf(number *big.Int) (out words) {
	var buffer [Size]byte
	return wordsOfBytes(number.FillBytes(buffer[:]))
}

// wordsOfBytes reads 48 bytes, big endian.
func wordsOfBytes(encoded []byte) (out words) {
	for index := range out {
		for _, octet := range encoded[Size-8*(index+1) : Size-8*index] {
			out[index] = out[index]<<8 | uint64(octet)
		}
	}
	return out
}

func (w words) integer() *big.Int {
	var encoded [Size]byte
	for index, word := range w {
		for octet := range 8 {
			encoded[Size-1-8*index-octet] = byte(word >> (8 * octet))
		}
	}
	return new(big.Int).SetBytes(encoded[:])
}

// bit returns the bit of weight 2^position.
func (w *words) bit(position int) uint { return uint(w[position>>6]>>(position&63)) & 1 }

// setInteger sets z to a number from 0 to p-1.
func (z *element) setInteger(number *big.Int) {
	plain := element(wordsOf(number))
	z.mul(&plain, &squareOfR)
}

// integer returns the number that z stands for.
func (z *element) integer() *big.Int {
	var plain element
	plain.mul(z, &element{1})
	return words(plain).integer()
}

func (z *element) isZero() bool { return *z == element{} }

// invert sets z to 1/x; x is not zero.
func (z *element) invert(x *element) {
	z.setInteger(new(big.Int).ModInverse(x.integer(), prime))
}

// add sets z to x + y.
func (z *element) add(x, y *element) {
	r0, c := bits.Add64(x[0], y[0], 0)
	r1, c := bits.Add64(x[1], y[1], c)
	r2, c := bits.Add64(x[2], y[2], c)
	r3, c := bits.Add64(x[3], y[3], c)
	r4, c := bits.Add64(x[4], y[4], c)
	r5, c := bits.Add64(x[5], y[5], c)
	z.setBelowTwice(r0, r1, r2, r3, r4, r5, c)
}

// sub sets z to x - y.
func (z *element) sub(x, y *element) {
	r0, b := bits.Sub64(x[0], y[0], 0)
	r1, b := bits.Sub64(x[1], y[1], b)
	r2, b := bits.Sub64(x[2], y[2], b)
	r3, b := bits.Sub64(x[3], y[3], b)
	r4, b := bits.Sub64(x[4], y[4], b)
	r5, b := bits.Sub64(x[5], y[5], b)
	mask := -b // p is added where the difference is negative
	var c uint64
	z[0], c = bits.Add64(r0, mask&prime0, 0)
	z[1], c = bits.Add64(r1, mask&prime1, c)
	z[2], c = bits.Add64(r2, mask&prime2, c)
	z[3], c = bits.Add64(r3, mask, c)
	z[4], c = bits.Add64(r4, mask, c)
	z[5], _ = bits.Add64(r5, mask, c)
}

// setBelowTwice sets z to a number below 2p modulo p; c is its seventh word.
func (z *element) setBelowTwice(r0, r1, r2, r3, r4, r5, c uint64) {
	s0, b := bits.Sub64(r0, prime0, 0)
	s1, b := bits.Sub64(r1, prime1, b)
	s2, b := bits.Sub64(r2, prime2, b)
	s3, b := bits.Sub64(r3, primeN, b)
	s4, b := bits.Sub64(r4, primeN, b)
	s5, b := bits.Sub64(r5, primeN, b)
	_, b = bits.Sub64(c, 0, b)
	mask := -b // the number was below p: keep it
	z[0] = s0 ^ mask&(s0^r0)
	z[1] = s1 ^ mask&(s1^r1)
	z[2] = s2 ^ mask&(s2^r2)
	z[3] = s3 ^ mask&(s3^r3)
	z[4] = s4 ^ mask&(s4^r4)
	z[5] = s5 ^ mask&(s5^r5)
}

// mul sets z to x * y / 2^384, which is the product in Montgomery's form.
func (z *element) mul(x, y *element) {
	var t [12]uint64
	var r0, r1, r2, r3, r4, r5 uint64 // the rows so far, without the words that are in t
	for row, word := range y {
		h0, l0 := bits.Mul64(x[0], word)
		h1, l1 := bits.Mul64(x[1], word)
		h2, l2 := bits.Mul64(x[2], word)
		h3, l3 := bits.Mul64(x[3], word)
		h4, l4 := bits.Mul64(x[4], word)
		h5, l5 := bits.Mul64(x[5], word)
		var c uint64
		t[row], c = bits.Add64(l0, r0, 0)
		l1, c = bits.Add64(l1, r1, c)
		l2, c = bits.Add64(l2, r2, c)
		l3, c = bits.Add64(l3, r3, c)
		l4, c = bits.Add64(l4, r4, c)
		l5, c = bits.Add64(l5, r5, c)
		h5 += c // no carry: the row and what it is added to are below 2^448
		r0, c = bits.Add64(l1, h0, 0)
		r1, c = bits.Add64(l2, h1, c)
		r2, c = bits.Add64(l3, h2, c)
		r3, c = bits.Add64(l4, h3, c)
		r4, c = bits.Add64(l5, h4, c)
		r5 = h5 + c
	}
	t[6], t[7], t[8], t[9], t[10], t[11] = r0, r1, r2, r3, r4, r5
	z.reduce(&t)
}

// square sets z to x * x / 2^384: the 15 products of unlike words twice, and the 6 squares.
func (z *element) square(x *element) {
	x0, x1, x2, x3, x4, x5 := x[0], x[1], x[2], x[3], x[4], x[5]
	h01, t1 := bits.Mul64(x0, x1)
	h02, t2 := bits.Mul64(x0, x2)
	h03, t3 := bits.Mul64(x0, x3)
	h04, t4 := bits.Mul64(x0, x4)
	t6, t5 := bits.Mul64(x0, x5)
	t2, c := bits.Add64(t2, h01, 0)
	t3, c = bits.Add64(t3, h02, c)
	t4, c = bits.Add64(t4, h03, c)
	t5, c = bits.Add64(t5, h04, c)
	t6 += c
	h12, l12 := bits.Mul64(x1, x2)
	h13, l13 := bits.Mul64(x1, x3)
	h14, l14 := bits.Mul64(x1, x4)
	t7, l15 := bits.Mul64(x1, x5)
	l13, c = bits.Add64(l13, h12, 0)
	l14, c = bits.Add64(l14, h13, c)
	l15, c = bits.Add64(l15, h14, c)
	t7 += c
	t3, c = bits.Add64(t3, l12, 0)
	t4, c = bits.Add64(t4, l13, c)
	t5, c = bits.Add64(t5, l14, c)
	t6, c = bits.Add64(t6, l15, c)
	t7 += c
	h23, l23 := bits.Mul64(x2, x3)
	h24, l24 := bits.Mul64(x2, x4)
	t8, l25 := bits.Mul64(x2, x5)
	l24, c = bits.Add64(l24, h23, 0)
	l25, c = bits.Add64(l25, h24, c)
	t8 += c
	t5, c = bits.Add64(t5, l23, 0)
	t6, c = bits.Add64(t6, l24, c)
	t7, c = bits.Add64(t7, l25, c)
	t8 += c
	h34, l34 := bits.Mul64(x3, x4)
	t9, l35 := bits.Mul64(x3, x5)
	l35, c = bits.Add64(l35, h34, 0)
	t9 += c
	t7, c = bits.Add64(t7, l34, 0)
	t8, c = bits.Add64(t8, l35, c)
	t9 += c
	t10, l45 := bits.Mul64(x4, x5)
	t9, c = bits.Add64(t9, l45, 0)
	t10 += c

	t1, c = bits.Add64(t1, t1, 0)
	t2, c = bits.Add64(t2, t2, c)
	t3, c = bits.Add64(t3, t3, c)
	t4, c = bits.Add64(t4, t4, c)
	t5, c = bits.Add64(t5, t5, c)
	t6, c = bits.Add64(t6, t6, c)
	t7, c = bits.Add64(t7, t7, c)
	t8, c = bits.Add64(t8, t8, c)
	t9, c = bits.Add64(t9, t9, c)
	t10, t11 := bits.Add64(t10, t10, c)

	h0, t0 := bits.Mul64(x0, x0)
	h1, l1 := bits.Mul64(x1, x1)
	h2, l2 := bits.Mul64(x2, x2)
	h3, l3 := bits.Mul64(x3, x3)
	h4, l4 := bits.Mul64(x4, x4)
	h5, l5 := bits.Mul64(x5, x5)
	t1, c = bits.Add64(t1, h0, 0)
	t2, c = bits.Add64(t2, l1, c)
	t3, c = bits.Add64(t3, h1, c)
	t4, c = bits.Add64(t4, l2, c)
	t5, c = bits.Add64(t5, h2, c)
	t6, c = bits.Add64(t6, l3, c)
	t7, c = bits.Add64(t7, h3, c)
	t8, c = bits.Add64(t8, l4, c)
	t9, c = bits.Add64(t9, h4, c)
	t10, c = bits.Add64(t10, l5, c)
	t11 += h5 + c
	z.reduce(&[12]uint64{t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11})
}

// reduce sets z to t / 2^384 modulo p, for t below p * 2^384: six times it adds the m*p that makes
// the lowest word zero, and drops that word. m is the word times -1/p modulo 2^64, which is 2^32 +
// 1, and since p = 2^384 - (2^128 + 2^96 - 2^32 + 1), m*p takes shifts and no multiplication.
func (z *element) reduce(t *[12]uint64) {
	r0, r1, r2, r3, r4, r5 := t[0], t[1], t[2], t[3], t[4], t[5]
	var c uint64
	for range 6 {
		m := r0 + r0<<32
		low, high := m<<32, m>>32
		// d is m * (2^128 + 2^96 - 2^32 + 1); its lowest word is r0, which it takes away.
		_, b := bits.Sub64(m, low, 0)
		d1, b := bits.Sub64(low, high, b)
		d2, carry := bits.Add64(m, high, 0)
		d2, b = bits.Sub64(d2, 0, b)
		d3 := carry - b
		r0, b = bits.Sub64(r1, d1, 0)
		r1, b = bits.Sub64(r2, d2, b)
		r2, b = bits.Sub64(r3, d3, b)
		r3, b = bits.Sub64(r4, 0, b)
		r4, b = bits.Sub64(r5, 0, b)
		r5 = m - b
	}
	r0, c = bits.Add64(r0, t[6], 0)
	r1, c = bits.Add64(r1, t[7], c)
	r2, c = bits.Add64(r2, t[8], c)
	r3, c = bits.Add64(r3, t[9], c)
	r4, c = bits.Add64(r4, t[10], c)
	r5, c = bits.Add64(r5, t[11], c)
	z.setBelowTwice(r0, r1, r2, r3, r4, r5, c)
}
