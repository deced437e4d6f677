package rsapss

import (
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"os"
	"strconv"
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
		numbers := []*big.Int{new(big.Int), big.NewInt(1), big.NewInt(2),
			new(big.Int).Sub(modulus, big.NewInt(1)), new(big.Int).Rsh(modulus, 1),
			new(big.Int).Sqrt(modulus)}
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

// edge returns a number of up to size bits, whose 64-bit words are mostly zeros, ones or one bit.
func edge(t *testing.T, size int) *big.Int {
	t.Helper()
	room := make([]byte, size/8)
	if _, err := rand.Read(room); err != nil {
		t.Fatal(err)
	}
	choices := make([]byte, size/64)
	if _, err := rand.Read(choices); err != nil {
		t.Fatal(err)
	}
	for word, choice := range choices {
		part := room[8*word : 8*word+8]
		switch {
		case choice < 80:
			clear(part)
		case choice < 160:
			copy(part, "\xff\xff\xff\xff\xff\xff\xff\xff")
		case choice < 200:
			clear(part)
			part[choice%8] = 1 << (choice / 8 % 8)
		}
	}
	return new(big.Int).SetBytes(room)
}

// TestRemaindersAtTheirEdges chooses quotient and remainder, and the modulus, where the estimate is
// furthest off: remainders of 0, 1, n-1 and the like, quotients of ones, moduli just above 2^4095
// and just below 2^4096. Every number of corrections that can happen must, and no other.
func TestRemaindersAtTheirEdges(t *testing.T) {
	rounds := 20_000
	if text := os.Getenv("ATTESTD_RSA_ROUNDS"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	one := big.NewInt(1)
	top := new(big.Int).Lsh(one, bits)
	limit := new(big.Int).Lsh(one, 2*bits)
	var key Key
	var space division
	var seen [4]int
	for round := range rounds {
		if round%20 == 0 {
			modulus := edge(t, bits)
			switch round / 20 % 4 {
			case 0: // few bits more than 2^4095
				modulus.Rsh(modulus, 1+uint(round)%(bits-2)) //nolint:gosec // not negative
			case 1: // few bits less than 2^4096
				modulus.Rsh(modulus, 1+uint(round)%(bits-2)) //nolint:gosec // not negative
				modulus.Sub(top, modulus.SetBit(modulus, 0, 1))
			}
			modulus.SetBit(modulus, bits-1, 1).SetBit(modulus, 0, 1)
			var err error
			if key, err = NewKey(&rsa.PublicKey{N: modulus, E: 65537}); err != nil {
				t.Fatal(err)
			}
		}
		quotient, rest := edge(t, bits), new(big.Int)
		switch round % 5 {
		case 0:
		case 1:
			rest.SetInt64(1)
		case 2:
			rest.Sub(key.modulus, one)
		case 3:
			rest.Mod(edge(t, bits), key.modulus)
		default: // what a squaring of numbers below the modulus gives at most
			quotient.Sub(key.modulus, big.NewInt(int64(round%7)))
		}
		product := new(big.Int).Mul(quotient, key.modulus)
		if product.Add(product, rest).Cmp(limit) >= 0 {
			product.Sub(limit, one)
			rest.Mod(product, key.modulus)
		}
		got, kept := new(big.Int), new(big.Int).Set(product)
		corrections := key.remainder(got, product, &space)
		if got.Cmp(rest) != 0 {
			t.Fatalf("%x modulo %x is %x, want %x", product, key.modulus, got, rest)
		}
		if product.Cmp(kept) != 0 {
			t.Fatal("the product was changed")
		}
		seen[min(corrections, 3)]++
	}
	t.Logf("%d remainders: %d without a correction, %d with one, %d with two", rounds,
		seen[0], seen[1], seen[2])
	if seen[0] == 0 || seen[1] == 0 || seen[2] == 0 || seen[3] != 0 {
		t.Error("the estimate is not what it is said to be, or the cases are built wrongly")
	}
}
