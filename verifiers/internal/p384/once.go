//go:build !purego && (amd64 || arm64)

package p384

import "math/big"

// Digits of a scalar for a key without a table are odd numbers from -15 to 15, or zero, at least
// five places apart (width-5 non-adjacent form: Guide to Elliptic Curve Cryptography, algorithm
// 3.35).
const (
	digitBits = 5
	digits    = scalars + 1 // one more than the bits, for the carry
)

// recode returns the digits of scalar, that of weight 1 first.
func recode(scalar *words) (out [digits]int8) {
	carry := uint(0)
	for place := 0; place < digits; {
		if (scalar.bitOrZero(place)+carry)&1 == 0 {
			// The carry stays as it is: 0+0 hands on 0, and 1+1 hands on 1.
			place++
			continue
		}
		value := carry
		for next := range digitBits {
			value += scalar.bitOrZero(place+next) << next
		}
		if carry = value >> (digitBits - 1); carry == 1 {
			out[place] = int8(int(value) - 1<<digitBits)
		} else {
			out[place] = int8(value)
		}
		place += digitBits
	}
	return out
}

func (w *words) bitOrZero(position int) uint {
	if position >= scalars {
		return 0
	}
	return w.bit(position)
}

// oddMultiples returns P, 3P, ..., 15P; false where one of them is infinity, which none is of a
// point whose order is the curve's.
func oddMultiples(p *affine) ([]affine, bool) {
	all := make([]point, 1<<(digitBits-1)-1)
	all[0].set(p)
	for index := 1; index < len(all); index++ {
		all[index] = all[index-1]
		all[index].add(p)
	}
	odd := all[:0]
	for index := 0; index < len(all); index += 2 {
		odd = append(odd, all[index])
	}
	return toAffine(odd)
}

// combinedMultOnce returns u*G + v*Q for the table of G and the odd multiples of Q.
func combinedMultOnce(base *comb, multiples []affine, u, v words) (sum point) {
	signed := recode(&v)
	for place := digits - 1; place >= 0; place-- {
		sum.double()
		if place < base.spacing {
			base.addColumn(&sum, &u, place)
		}
		switch digit := signed[place]; {
		case digit > 0:
			sum.add(&multiples[digit>>1])
		case digit < 0:
			opposite := multiples[-digit>>1]
			opposite.y.sub(&element{}, &opposite.y)
			sum.add(&opposite)
		}
	}
	return sum
}

// verifyOnce does FIPS 186-5, section 6.4.2, steps 3 to 7, for a key that has no table.
func (k Key) verifyOnce(digest []byte, r, s *big.Int) bool {
	multiples, ok := oddMultiples(newAffine(k.x, k.y))
	if !ok {
		return k.verifyPlain(digest, r, s)
	}
	u, v := scalarsOf(digest, r, s)
	sum := combinedMultOnce(generator(), multiples, u, v)
	return sum.isSignature(r)
}
