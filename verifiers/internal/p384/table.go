//go:build !purego && (amd64 || arm64)

package p384

import (
	"crypto/elliptic"
	"math/big"
	"sync"
)

// comb is a table of multiples of one point P for scalars of 384 bits (Lim and Lee, "More Flexible
// Exponentiation with Precomputation", 1994): entry d-1 is the sum of 2^(spacing*k)*P over the bits
// k of d. A scalar is then read in columns, and takes as many doublings as there are columns.
type comb struct {
	teeth, spacing int
	entries        []affine
}

// Teeth of the two kinds of table. A key's has 63 entries, 6 KB; the one of the generator, of which
// there is one, 255 entries, 24 KB. Both cover 6*64 = 8*48 = 384 bits.
const (
	keyTeeth  = 6
	baseTeeth = 8
	scalars   = 384
)

// newComb returns the table of p, nil where an entry would be infinity; of a point whose order is
// the curve's, none is.
func newComb(p *affine, teeth int) *comb {
	spacing := scalars / teeth
	tips := make([]point, teeth)
	tips[0].set(p)
	for tooth := 1; tooth < teeth; tooth++ {
		tips[tooth] = tips[tooth-1]
		for range spacing {
			tips[tooth].double()
		}
	}
	steps, ok := toAffine(tips)
	if !ok {
		return nil
	}
	sums := make([]point, 1<<teeth-1)
	for tooth := range steps {
		top := 1 << tooth
		sums[top-1].set(&steps[tooth])
		for digit := top + 1; digit < 2*top; digit++ {
			sums[digit-1] = sums[digit-top-1]
			sums[digit-1].add(&steps[tooth])
		}
	}
	entries, ok := toAffine(sums)
	if !ok {
		return nil
	}
	return &comb{teeth: teeth, spacing: spacing, entries: entries}
}

// addColumn adds the entry of a column of scalar to sum.
func (c *comb) addColumn(sum *point, scalar *words, column int) {
	digit := uint(0)
	for tooth := range c.teeth {
		digit |= scalar.bit(column+tooth*c.spacing) << tooth
	}
	if digit != 0 {
		sum.add(&c.entries[digit-1])
	}
}

// generator is the table of the base point: a constant, made when it is first needed.
var generator = sync.OnceValue(func() *comb {
	params := elliptic.P384().Params()
	return newComb(newAffine(params.Gx, params.Gy), baseTeeth)
})

func newAffine(x, y *big.Int) *affine {
	out := &affine{}
	out.x.setInteger(x)
	out.y.setInteger(y)
	return out
}

// verify does FIPS 186-5, section 6.4.2, steps 3 to 7, for the key of the table. The inputs were
// checked by Verify.
func (c *comb) verify(digest []byte, r, s *big.Int) bool {
	u, v := scalarsOf(digest, r, s)
	sum := combinedMult(generator(), c, u, v)
	return sum.isSignature(r)
}

// combinedMult returns u*G + v*Q for the tables of G and Q. The columns of both share the
// doublings.
func combinedMult(base, key *comb, u, v words) (sum point) {
	for column := max(base.spacing, key.spacing) - 1; column >= 0; column-- {
		sum.double()
		if column < base.spacing {
			base.addColumn(&sum, &u, column)
		}
		if column < key.spacing {
			key.addColumn(&sum, &v, column)
		}
	}
	return sum
}

// scalarsOf returns u = digest/s and v = r/s modulo n, for s from 1 to n-1.
func scalarsOf(digest []byte, r, s *big.Int) (u, v words) {
	w := new(big.Int).ModInverse(s, order)
	product := new(big.Int).SetBytes(digest)
	product.Mul(product, w)
	u = wordsOf(product.Mod(product, order))
	product.Mul(r, w)
	return u, wordsOf(product.Mod(product, order))
}
