package forge

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"math/big"
)

// WeakRSAKey makes a key of 2048 bits as the library of CVE-2017-15361 did: each prime is
// k*M + (65537^a mod M), M the product of the first 126 primes (Nemec et al., "The Return of
// Coppersmith's Attack", section 2.1).
func WeakRSAKey() (*rsa.PrivateKey, error) {
	p, err := weakPrime()
	if err != nil {
		return nil, err
	}
	q, err := weakPrime()
	if err != nil {
		return nil, err
	}
	one := big.NewInt(1)
	order := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{Primes: []*big.Int{p, q}, D: new(big.Int).ModInverse(big.NewInt(65537), order),
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}}
	if key.D == nil {
		return nil, errors.New("65537 has no inverse")
	}
	key.Precompute()
	return key, key.Validate()
}

func weakPrime() (*big.Int, error) {
	product := big.NewInt(1)
	for candidate, found := int64(2), 0; found < 126; candidate++ {
		if big.NewInt(candidate).ProbablyPrime(20) {
			product.Mul(product, big.NewInt(candidate))
			found++
		}
	}
	room := new(big.Int).Div(new(big.Int).Lsh(big.NewInt(1), 1024), product)
	powers := new(big.Int).Lsh(big.NewInt(1), 254)
	for range 100_000 {
		k, err := rand.Int(rand.Reader, room)
		if err != nil {
			return nil, err
		}
		a, err := rand.Int(rand.Reader, powers)
		if err != nil {
			return nil, err
		}
		prime := new(big.Int).Exp(big.NewInt(65537), a, product)
		prime.Add(prime, k.Mul(k, product))
		if prime.BitLen() == 1024 && prime.Bit(1022) == 1 && prime.ProbablyPrime(8) {
			return prime, nil
		}
	}
	return nil, errors.New("no prime of the weak form was found")
}
