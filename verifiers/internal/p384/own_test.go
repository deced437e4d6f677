//go:build !purego && (amd64 || arm64)

package p384

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"math/big"
	"runtime"
	"sync"
	"testing"
)

// edges are words at which carries and borrows happen.
var edges = []uint64{
	0, 1, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1<<32, 1<<64 - 2, 1<<64 - 1,
}

// numbers returns count numbers below p, of random words and of edges.
func numbers(t *testing.T, count int) []*big.Int {
	t.Helper()
	out := []*big.Int{new(big.Int), big.NewInt(1), new(big.Int).Sub(prime, big.NewInt(1))}
	room := make([]byte, 2*6*8+6)
	for len(out) < count {
		if _, err := rand.Read(room); err != nil {
			t.Fatal(err)
		}
		var w words
		for index := range w {
			for _, octet := range room[8*index : 8*index+8] {
				w[index] = w[index]<<8 | uint64(octet)
			}
			if choice := int(room[96+index]); choice < 128 {
				w[index] = edges[choice%len(edges)]
			}
		}
		if number := w.integer(); number.Cmp(prime) < 0 {
			out = append(out, number)
		}
	}
	return out
}

func TestFieldAgreesWithBigIntegers(t *testing.T) {
	all := numbers(t, 20_000)
	inverse := new(big.Int).ModInverse(new(big.Int).Lsh(big.NewInt(1), 384), prime)
	check := func(name string, x, y *big.Int, got element, want *big.Int) {
		t.Helper()
		if words(got).integer().Cmp(want.Mod(want, prime)) != 0 {
			t.Fatalf("%s of %x and %x is %x, want %x", name, x, y, words(got).integer(), want)
		}
	}
	for index, x := range all {
		y := all[(index*7+3)%len(all)]
		ex, ey := element(wordsOf(x)), element(wordsOf(y))
		var z element
		z.mul(&ex, &ey)
		want := new(big.Int).Mul(x, y)
		check("product", x, y, z, want.Mul(want, inverse))
		z.square(&ex)
		want = new(big.Int).Mul(x, x)
		check("square", x, x, z, want.Mul(want, inverse))
		z.add(&ex, &ey)
		check("sum", x, y, z, new(big.Int).Add(x, y))
		z.sub(&ex, &ey)
		check("difference", x, y, z, new(big.Int).Sub(x, y))
		z.setInteger(x)
		if z.integer().Cmp(x) != 0 {
			t.Fatalf("%x comes back as %x", x, z.integer())
		}
		// In place, as the formulas use it.
		z = ex
		z.mul(&z, &z)
		want = new(big.Int).Mul(x, x)
		check("product in place", x, x, z, want.Mul(want, inverse))
	}
	var unit element
	unit.setInteger(big.NewInt(1))
	if unit != one {
		t.Error("one is not 1")
	}
}

func TestDigitsAddUpToTheScalar(t *testing.T) {
	top := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 384), big.NewInt(1))
	for _, scalar := range append(numbers(t, 5_000), top) {
		w := wordsOf(scalar)
		sum, last := new(big.Int), -digitBits
		for place, digit := range recode(&w) {
			if digit == 0 {
				continue
			}
			if digit&1 == 0 || digit > 15 || digit < -15 || place-last < digitBits {
				t.Fatalf("digit %d at %d, the one before at %d", digit, place, last)
			}
			last = place
			sum.Add(sum, new(big.Int).Lsh(big.NewInt(int64(digit)), uint(place)))
		}
		if sum.Cmp(scalar) != 0 {
			t.Fatalf("the digits of %x add up to %x", scalar, sum)
		}
	}
}

// multiple returns d*G by the standard library; d is not 0 modulo n.
func multiple(t *testing.T, d *big.Int) (x, y *big.Int) {
	t.Helper()
	private, err := ecdsa.ParseRawPrivateKey(
		elliptic.P384(), new(big.Int).Mod(d, order).FillBytes(make([]byte, Size)))
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return new(big.Int).SetBytes(encoded[1 : 1+Size]), new(big.Int).SetBytes(encoded[1+Size:])
}

// TestExceptionalSums brings both ways of adding u*G + v*Q to their exceptional cases: scalars of
// one bit, of neighbours and of the order less such, for keys d*G whose table entries are those of
// G, their opposites or their doubles. With d a power of two the columns of both tables hold the
// same points, so that a sum meets an entry, its opposite and infinity at every column.
func TestExceptionalSums(t *testing.T) {
	pick := func(exponents ...uint) (out []*big.Int) {
		for _, exponent := range exponents {
			power := new(big.Int).Lsh(big.NewInt(1), exponent)
			out = append(out, power, new(big.Int).Mod(new(big.Int).Neg(power), order))
		}
		return out
	}
	keys := append(pick(0, 1, 4, 16, 32, 48, 64, 192),
		new(big.Int).ModInverse(big.NewInt(1<<16), order), big.NewInt(3), big.NewInt(15))
	scalars := append(pick(0, 1, 4, 5, 47, 48, 63, 64, 65, 112, 191, 336, 383), new(big.Int),
		new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 48), big.NewInt(1)), big.NewInt(31),
		new(big.Int).Sub(order, big.NewInt(15)), new(big.Int).Rsh(order, 1))
	if testing.Short() {
		keys = keys[:4]
	}
	cases, infinite := 0, 0
	base := generator()
	for _, d := range keys {
		q := newAffine(multiple(t, d))
		table, multiples := newComb(q, keyTeeth), []affine(nil)
		var ok bool
		if multiples, ok = oddMultiples(q); !ok || table == nil {
			t.Fatal("a point of the curve has an entry at infinity")
		}
		for _, u := range scalars {
			u = new(big.Int).Mod(u, order)
			for _, v := range scalars {
				v = new(big.Int).Mod(v, order)
				sum := new(big.Int).Mul(v, d)
				sum.Add(sum, u).Mod(sum, order)
				var want *affine
				if sum.Sign() != 0 {
					want = newAffine(multiple(t, sum))
				}
				for name, got := range map[string]point{
					"tables":        combinedMult(base, table, wordsOf(u), wordsOf(v)),
					"odd multiples": combinedMultOnce(base, multiples, wordsOf(u), wordsOf(v)),
				} {
					if got.isInfinity() != (sum.Sign() == 0) {
						t.Fatalf("%s: d=%x u=%x v=%x: infinity is %v",
							name, d, u, v, got.isInfinity())
					}
					cases++
					if sum.Sign() == 0 {
						infinite++
						continue
					}
					if plain, ok := toAffine([]point{got}); !ok || plain[0] != *want {
						t.Fatalf("%s: d=%x u=%x v=%x: another point", name, d, u, v)
					}
				}
			}
		}
	}
	t.Logf("%d sums, %d of them infinity, no mismatch", cases, infinite)
	if infinite < 20 {
		t.Error("too few sums at infinity: the cases are built wrongly")
	}
}

// TestEveryEntryOfATable compares both tables with the standard library, and demands that a table
// with an entry at infinity is none.
func TestEveryEntryOfATable(t *testing.T) {
	for _, teeth := range []int{keyTeeth, baseTeeth} {
		d := big.NewInt(0xfeed)
		table := newComb(newAffine(multiple(t, d)), teeth)
		for digit := 1; digit < 1<<teeth; digit++ {
			scalar := new(big.Int)
			for tooth := range teeth {
				if digit>>tooth&1 == 1 {
					scalar.SetBit(scalar, tooth*table.spacing, 1)
				}
			}
			want := newAffine(multiple(t, scalar.Mul(scalar, d)))
			if table.entries[digit-1] != *want {
				t.Fatalf("%d teeth: entry %d is another point", teeth, digit)
			}
		}
	}
	if newComb(&affine{}, keyTeeth) != nil { // y = 0: of order 2, were it a point
		t.Error("a table was made of a point that doubles to infinity")
	}
}

func sample(t testing.TB) (key Key, digest, r, s []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if key, err = NewKey(&private.PublicKey); err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum384([]byte("sample"))
	rInt, sInt, err := ecdsa.Sign(rand.Reader, private, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return key, sum[:], rInt.FillBytes(make([]byte, Size)), sInt.FillBytes(make([]byte, Size))
}

// TestTablesAreForKeysThatProvedThemselves: no number of made-up signatures brings a key a table,
// one good signature and another use does, and an authority has one at once.
func TestTablesAreForKeysThatProvedThemselves(t *testing.T) {
	key, digest, r, s := sample(t)
	for range 5 {
		if key.Verify(digest, s, r) {
			t.Fatal("r and s the wrong way round were accepted")
		}
	}
	if key.memory.table.Load() != nil || key.memory.stage.Load() != stageNew {
		t.Error("made-up signatures changed what is kept of a key")
	}
	if !key.Verify(digest, r, s) || key.memory.table.Load() != nil {
		t.Fatal("the first good signature was refused, or brought a table")
	}
	if !key.Verify(digest, r, s) || key.memory.table.Load() == nil {
		t.Fatal("the second good signature was refused, or brought no table")
	}
	if key.Verify(digest, s, r) || !key.Verify(digest, r, s) {
		t.Error("with the table the answers are others")
	}
	authority, digest, r, s := sample(t)
	authority.Precompute()
	if authority.memory.table.Load() == nil || !authority.Verify(digest, r, s) {
		t.Error("an authority has no table, or verifies nothing with it")
	}
	Key{}.Precompute() // does nothing
}

// TestATableGoesWithItsKey: what is kept is kept by whoever keeps the key, and by nobody else.
func TestATableGoesWithItsKey(t *testing.T) {
	held := func() uint64 {
		runtime.GC()
		runtime.GC() // empties what pools keep for one collection more
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	// What is made once, here and in the standard library, is made before.
	generator()
	first, _, _, _ := sample(t)
	first.Precompute()
	before := held()
	keys := make([]Key, 64)
	for index := range keys {
		keys[index], _, _, _ = sample(t)
		keys[index].Precompute()
	}
	full := held()
	if each := (full - before) / uint64(len(keys)); each > 9<<10 {
		t.Errorf("%d bytes a key, want at most 9 KB", each)
	}
	runtime.KeepAlive(keys)
	keys = nil
	if after := held(); after > before+(full-before)/4 {
		t.Errorf("%d bytes held before, %d with keys and %d without them", before, full, after)
	}
}

// TestOneKeyInManyHands is for the race detector: all stages of a key at once.
func TestOneKeyInManyHands(t *testing.T) {
	key, digest, r, s := sample(t)
	var group sync.WaitGroup
	for hand := range 8 {
		group.Go(func() {
			for round := range 8 {
				if !key.Verify(digest, r, s) {
					t.Error("a good signature was refused")
				}
				if key.Verify(digest, s, r) {
					t.Error("a bad signature was accepted")
				}
				if hand == 0 && round == 3 {
					key.Precompute()
				}
			}
		})
	}
	group.Wait()
}

func BenchmarkStages(b *testing.B) {
	key, digest, rb, sb := sample(b)
	r, s := new(big.Int).SetBytes(rb), new(big.Int).SetBytes(sb)
	table := newComb(newAffine(key.x, key.y), keyTeeth)
	for name, verify := range map[string]func() bool{
		"first-use":    func() bool { return key.verifyOnce(digest, r, s) },
		"with-a-table": func() bool { return table.verify(digest, r, s) },
		"making-one":   func() bool { return newComb(newAffine(key.x, key.y), keyTeeth) != nil },
		"crypto-ecdsa": func() bool { return key.verifyPlain(digest, r, s) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !verify() {
					b.Fatal("refused")
				}
			}
		})
	}
}
