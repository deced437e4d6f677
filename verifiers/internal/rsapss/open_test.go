package rsapss

import (
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"testing"
)

// TestOpenIsAPower compares with math/big on moduli and numbers at their ends, where an estimate of
// a quotient is furthest off.
func TestOpenIsAPower(t *testing.T) {
	top := new(big.Int).Lsh(big.NewInt(1), bits)
	moduli := []*big.Int{
		new(big.Int).Sub(top, big.NewInt(1)), new(big.Int).Sub(top, big.NewInt(65535)),
		new(big.Int).SetBit(new(big.Int).Lsh(big.NewInt(1), bits-1), 0, 1),
		new(big.Int).SetBit(new(big.Int).Lsh(big.NewInt(3), bits-2), 0, 1),
	}
	for range 20 {
		modulus, err := rand.Int(rand.Reader, top)
		if err != nil {
			t.Fatal(err)
		}
		moduli = append(moduli, modulus.SetBit(modulus, bits-1, 1).SetBit(modulus, 0, 1))
	}
	for _, modulus := range moduli {
		key, err := NewKey(&rsa.PublicKey{N: modulus, E: 65537})
		if err != nil {
			t.Fatal(err)
		}
		numbers := []*big.Int{new(big.Int), big.NewInt(1), big.NewInt(2), new(big.Int).Sub(modulus, big.NewInt(1)),
			new(big.Int).Rsh(modulus, 1), new(big.Int).Sqrt(modulus)}
		for range 6 {
			number, err := rand.Int(rand.Reader, modulus)
			if err != nil {
				t.Fatal(err)
			}
			numbers = append(numbers, number)
		}
		for _, s := range numbers {
			kept := new(big.Int).Set(s)
			want := new(big.Int).Exp(s, big.NewInt(65537), modulus)
			if got := key.open(s); got.Cmp(want) != 0 {
				t.Fatalf("%x to the power of 65537 modulo %x is %x, want %x", s, modulus, got, want)
			}
			if s.Cmp(kept) != 0 {
				t.Fatal("the number was changed")
			}
		}
	}
}
