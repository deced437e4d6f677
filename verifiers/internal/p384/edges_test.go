//go:build !purego && (amd64 || arm64)

package p384

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"math/big"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Numbers at random come to the seldom carries once in 2^128 or 2^256: a sum between p and 2^384, a
// borrow through a word of zeros. The tests here choose the result, and find what leads there.

// soak returns count, or ATTESTD_P384_ROUNDS where that is set.
func soak(t *testing.T, count int) int {
	t.Helper()
	text := os.Getenv("ATTESTD_P384_ROUNDS")
	if text == "" {
		return count
	}
	count, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return count
}

// edgeNumbers returns numbers from 0 to 2^384-1 with all their neighbours up to 2: powers of two,
// runs of ones, p and n and their halves and doubles, what 2^384 leaves of them, and the sums and
// differences of some of these.
func edgeNumbers() (out []*big.Int) {
	top := new(big.Int).Lsh(big.NewInt(1), 384)
	near := func(number *big.Int) {
		for delta := int64(-2); delta <= 2; delta++ {
			if n := new(big.Int).Add(number, big.NewInt(delta)); n.Sign() >= 0 && n.Cmp(top) < 0 {
				out = append(out, n)
			}
		}
	}
	for _, number := range []*big.Int{new(big.Int), top, prime, order} {
		near(number)
		near(new(big.Int).Rsh(number, 1))
		near(new(big.Int).Sub(top, number))
		near(new(big.Int).Sub(prime, number))
		for place := uint(16); place < 384; place += 16 {
			power := new(big.Int).Lsh(big.NewInt(1), place)
			near(new(big.Int).Add(number, power))
			near(new(big.Int).Sub(number, power))
			// Ones from here up to the next word, and from here to the top.
			run := new(big.Int).Sub(new(big.Int).Lsh(power, 64), power)
			near(run)
			near(new(big.Int).Sub(number, run))
		}
	}
	return out
}

// source of random choices, the same in each run; a soak's differ by its length.
func source(rounds int) *rand.Rand { return rand.New(rand.NewPCG(384, uint64(rounds))) }

// below returns a number below limit, of random words and words at which carries happen.
func below(random *rand.Rand, limit *big.Int) *big.Int {
	for {
		var w words
		for index := range w {
			if w[index] = random.Uint64(); random.IntN(2) == 0 {
				w[index] = edges[random.IntN(len(edges))]
			}
		}
		if number := w.integer(); number.Cmp(limit) < 0 {
			return number
		}
	}
}

func TestResultsAtTheirEdges(t *testing.T) {
	rounds := soak(t, 100_000)
	random := source(rounds)
	r := new(big.Int).Lsh(big.NewInt(1), 384)
	type divisor struct{ number, inverse *big.Int }
	var divisors []divisor
	for range 200 {
		if y := below(random, prime); y.Sign() != 0 {
			divisors = append(divisors, divisor{y, new(big.Int).ModInverse(y, prime)})
		}
	}
	wanted := edgeNumbers()
	roots, windows := 0, 0
	for round := range rounds {
		z := new(big.Int).Mod(wanted[round%len(wanted)], prime)
		y := divisors[random.IntN(len(divisors))]
		ez, ey := element(wordsOf(z)), element(wordsOf(y.number))
		var got, ex element
		judge := func(name string) {
			t.Helper()
			if got != ez {
				t.Fatalf("%s of %x and %x is %x, want %x", name, words(ex).integer(), y.number,
					words(got).integer(), z)
			}
		}
		x := new(big.Int).Mul(z, r)
		ex = element(wordsOf(x.Mul(x, y.inverse).Mod(x, prime)))
		got.mul(&ex, &ey)
		judge("the product")
		got.mul(&ey, &ex)
		judge("the product, the other way round,")
		x.Sub(z, y.number)
		ex = element(wordsOf(x.Mod(x, prime)))
		got.add(&ex, &ey)
		judge("the sum")
		// Between p and 2^384 a sum has no carry, and is to be made less.
		if sum := x.Add(x, y.number); sum.Cmp(prime) >= 0 && sum.Cmp(r) < 0 {
			windows++
		}
		x.Add(z, y.number)
		ex = element(wordsOf(x.Mod(x, prime)))
		got.sub(&ex, &ey)
		judge("the difference")
		if round >= 2*len(wanted) {
			continue
		}
		if x.ModSqrt(x.Mod(x.Mul(z, r), prime), prime) != nil {
			roots++
			ex = element(wordsOf(x))
			got.square(&ex)
			judge("the square")
			got = ex
			got.square(&got)
			judge("the square in place")
		}
	}
	t.Logf("%d results of each kind, %d sums between p and 2^384, %d squares, no mismatch",
		rounds, windows, roots)
	if windows < 1000 || roots < 500 {
		t.Error("too few of the seldom cases: they are built wrongly")
	}
}

// TestReductionAtItsEdges gives the reduction what a product seldom looks like: multiples of p,
// which lead to p before the last subtraction, words of zeros and ones, and the greatest it may be
// given.
func TestReductionAtItsEdges(t *testing.T) {
	rounds := soak(t, 100_000)
	random := source(rounds)
	r := new(big.Int).Lsh(big.NewInt(1), 384)
	inverse := new(big.Int).ModInverse(r, prime)
	limit := new(big.Int).Mul(prime, r)
	wanted := edgeNumbers()
	exact := 0
	for round := range rounds {
		low, high := below(random, r), below(random, prime)
		number := new(big.Int)
		switch round % 4 {
		case 0:
			number.Mul(high, r).Add(number, low)
		case 1:
			number.Mul(low, prime) // leaves nothing
			exact++
		case 2: // low * p, and a number at an edge in the upper half
			number.Mul(wanted[random.IntN(len(wanted))], r)
			number.Add(number, new(big.Int).Mul(low, prime))
		default:
			number.Sub(limit, low).Sub(number, big.NewInt(1))
		}
		if number.Cmp(limit) >= 0 {
			number.Sub(limit, big.NewInt(1))
		}
		var t12 [12]uint64
		lower, upper := wordsOf(new(big.Int).Mod(number, r)), wordsOf(new(big.Int).Rsh(number, 384))
		copy(t12[:6], lower[:])
		copy(t12[6:], upper[:])
		var got element
		got.reduce(&t12)
		want := new(big.Int).Mul(number, inverse)
		if words(got).integer().Cmp(want.Mod(want, prime)) != 0 {
			t.Fatalf("%x is reduced to %x, want %x", number, words(got).integer(), want)
		}
	}
	t.Logf("%d reductions, %d of multiples of p, no mismatch", rounds, exact)
}

// TestAnyZ: the formulas give the same point whatever its Z is, in the exceptional cases too.
func TestAnyZ(t *testing.T) {
	random := source(0)
	q := newAffine(multiple(t, big.NewInt(5)))
	other := newAffine(multiple(t, big.NewInt(12)))
	opposite := *q
	opposite.y.sub(&element{}, &opposite.y)
	sum, doubled := *newAffine(multiple(t, big.NewInt(17))), *newAffine(multiple(t, big.NewInt(10)))
	difference := *newAffine(multiple(t, big.NewInt(7)))
	for range 500 {
		var z, zz element
		for z.isZero() {
			z.setInteger(below(random, prime))
		}
		zz.square(&z)
		scaled := func(a affine) (p point) {
			p.z = z
			p.x.mul(&a.x, &zz)
			p.y.mul(&a.y, &zz)
			p.y.mul(&p.y, &z)
			return p
		}
		for name, want := range map[string]struct {
			of   affine
			add  *affine
			sum  affine
			none bool
		}{
			"5G + 12G":  {of: *q, add: other, sum: sum},
			"12G - 5G":  {of: *other, add: &opposite, sum: difference},
			"5G + 5G":   {of: *q, add: q, sum: doubled},
			"5G - 5G":   {of: *q, add: &opposite, none: true},
			"-5G + 5G":  {of: opposite, add: q, none: true},
			"twice 5G":  {of: *q, sum: doubled},
			"12G + 12G": {of: *other, add: other, sum: *newAffine(multiple(t, big.NewInt(24)))},
		} {
			p := scaled(want.of)
			if want.add != nil {
				p.add(want.add)
			} else {
				p.double()
			}
			if p.isInfinity() != want.none {
				t.Fatalf("%s with Z = %x: infinity is %v", name, z.integer(), p.isInfinity())
			}
			if plain, ok := toAffine([]point{p}); ok != !want.none || ok && plain[0] != want.sum {
				t.Fatalf("%s with Z = %x: another point", name, z.integer())
			}
		}
	}
	// Infinity stays what it is, and adds nothing.
	for range 3 {
		var p point
		p.double()
		if !p.isInfinity() {
			t.Fatal("twice infinity is a point")
		}
		p.add(q)
		if plain, ok := toAffine([]point{p}); !ok || plain[0] != *q {
			t.Fatal("infinity and a point is another point")
		}
	}
	if _, ok := toAffine([]point{scale(q), {}, scale(other)}); ok {
		t.Error("infinity was given coordinates")
	}
	if _, ok := toAffine(nil); ok {
		t.Error("no points have coordinates")
	}
}

func scale(a *affine) (p point) {
	p.set(a)
	return p
}

// TestScalarsAtTheirEdges makes signatures for chosen u and v, which no signer would come upon: r
// is the x of (u + v*d)*G by the standard library, s = r/v, and the digest u*s. Both ways must
// accept them, and refuse the neighbours of r and of the digest.
func TestScalarsAtTheirEdges(t *testing.T) {
	rounds := soak(t, 600)
	random := source(rounds)
	wanted := edgeNumbers()
	scalar := func() *big.Int {
		number := wanted[random.IntN(len(wanted))]
		if random.IntN(3) == 0 {
			number = below(random, order)
		}
		return new(big.Int).Mod(number, order)
	}
	var key Key
	var d *big.Int
	accepted, refused, infinite := 0, 0, 0
	for round := range rounds {
		if round%20 == 0 {
			if d = scalar(); d.Sign() == 0 {
				d.SetInt64(1)
			}
			key = keyAt(t, d)
			key.Precompute()
		}
		u, v := scalar(), scalar()
		if v.Sign() == 0 {
			continue // r would be 0
		}
		k := new(big.Int).Mul(v, d)
		if round%8 == 0 { // the sum is infinity, and r whatever it likes
			u.Mod(u.Neg(k), order)
		}
		k.Add(k, u).Mod(k, order)
		r := scalar()
		if k.Sign() != 0 {
			r, _ = multiple(t, k)
			r.Mod(r, order)
		}
		s := new(big.Int).ModInverse(v, order)
		s.Mul(s, r).Mod(s, order)
		digest := new(big.Int).Mul(u, s)
		digest.Mod(digest, order)
		row := func(name string, r, s *big.Int, want bool) {
			t.Helper()
			if r.Sign() <= 0 || r.Cmp(order) >= 0 {
				return
			}
			var room [Size]byte
			sum := digest.FillBytes(room[:])
			once := key.verifyOnce(sum, r, s)
			if tabled := key.memory.table.Load().verify(sum, r, s); once != want || tabled != want {
				t.Fatalf("%s: d=%x u=%x v=%x: without table %v, with %v, want %v", name, d, u, v,
					once, tabled, want)
			}
			if round%50 == 0 && key.verifyPlain(sum, r, s) != want {
				t.Fatalf("%s: d=%x u=%x v=%x: crypto/ecdsa does not say %v", name, d, u, v, want)
			}
			if want {
				accepted++
			} else {
				refused++
			}
		}
		if k.Sign() == 0 {
			row("a sum at infinity", r, s, false)
			infinite++
			continue
		}
		row("the signature", r, s, true)
		// The sum of the opposite has the same x.
		row("its second form", r, new(big.Int).Sub(order, s), true)
		// A neighbour of r with v as it was: only the last comparison can refuse it.
		for _, delta := range []int64{-1, 1} {
			next := new(big.Int).Add(r, big.NewInt(delta))
			if next.Sign() == 0 {
				continue
			}
			nextS := new(big.Int).Mul(next, new(big.Int).ModInverse(v, order))
			nextS.Mod(nextS, order)
			sum := digest
			digest = new(big.Int).Mod(new(big.Int).Mul(u, nextS), order)
			row("a neighbour of r", next, nextS, false)
			digest = sum
		}
		digest.Add(digest, big.NewInt(1)).Mod(digest, order)
		row("another digest", r, s, false)
	}
	t.Logf("%d accepted and %d refused by each way, %d of them at infinity, no mismatch",
		accepted, refused, infinite)
	if accepted < rounds/2 || refused < rounds || infinite < rounds/16 {
		t.Error("too few cases: they are built wrongly")
	}
}

func keyAt(t *testing.T, d *big.Int) Key {
	t.Helper()
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P384(), d.FillBytes(make([]byte, Size)))
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestAnXBeyondTheOrder: where x of the sum is from n to p-1, r is x-n, which chance brings once in
// 2^194. Point R has such an x; the key Q = (R - u*G)/v, of which nobody knows the secret, verifies
// r = x-n and no other. With an x of 0 or n, both of which the curve has, it verifies nothing: not
// r = p-n either, for which r+n is p.
func TestAnXBeyondTheOrder(t *testing.T) {
	random := source(0)
	gap := new(big.Int).Sub(prime, order) // x = n + r for r below this
	made := 0
	judge := func(x *big.Int) {
		y := ordinate(x)
		if y == nil {
			return
		}
		made++
		r := new(big.Int).Mod(x, order)
		u, v := below(random, order), below(random, order)
		key := keyThrough(t, x, y, u, v)
		for _, other := range []*big.Int{r, new(big.Int).Add(r, big.NewInt(1)), gap,
			new(big.Int).Sub(order, r), new(big.Int).Add(gap, r)} {
			other = new(big.Int).Mod(other, order)
			s := new(big.Int).ModInverse(v, order)
			s.Mul(s, other).Mod(s, order)
			if s.Sign() == 0 {
				continue
			}
			digest := new(big.Int).Mul(u, s)
			sum := digest.Mod(digest, order).FillBytes(make([]byte, Size))
			want := other.Cmp(r) == 0
			once := key.verifyOnce(sum, other, s)
			tabled := key.memory.table.Load().verify(sum, other, s)
			plain := key.verifyPlain(sum, other, s)
			if once != want || tabled != want || plain != want {
				t.Errorf("x=%x r=%x: without table %v, with %v, crypto/ecdsa %v, want %v",
					x, other, once, tabled, plain, want)
			}
		}
	}
	judge(new(big.Int))
	judge(order)
	if made != 2 {
		t.Fatal("the curve has points with these x")
	}
	for offset := int64(1); made < 40; offset++ {
		x := big.NewInt(offset)
		if offset%2 == 0 {
			x.Sub(gap, x)
		}
		if made%4 != 3 { // the others have an x below p-n, which is r itself
			x.Add(x, order)
		}
		judge(x)
	}
}

// ordinate returns a y with y^2 = x^3 - 3x + b, nil where there is none.
func ordinate(x *big.Int) *big.Int {
	y := new(big.Int).Exp(x, big.NewInt(3), prime)
	y.Sub(y, new(big.Int).Mul(x, big.NewInt(3))).Add(y, elliptic.P384().Params().B).Mod(y, prime)
	return y.ModSqrt(y, prime)
}

// keyThrough returns the key Q for which u*G + v*Q is the point (x, y).
func keyThrough(t *testing.T, x, y, u, v *big.Int) Key {
	t.Helper()
	curve := elliptic.P384()
	//lint:ignore SA1019 points whose logarithm nobody knows need an addition
	gx, gy := curve.ScalarBaseMult(new(big.Int).Sub(order, u).Bytes())
	//lint:ignore SA1019 as above
	qx, qy := curve.Add(x, y, gx, gy)
	//lint:ignore SA1019 as above
	qx, qy = curve.ScalarMult(qx, qy, new(big.Int).ModInverse(v, order).Bytes())
	//lint:ignore SA1019 as above
	key, err := NewKey(&ecdsa.PublicKey{Curve: curve, X: qx, Y: qy})
	if err != nil {
		t.Fatal(err)
	}
	key.Precompute()
	return key
}
