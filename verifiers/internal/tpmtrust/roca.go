package tpmtrust

import (
	"math/big"
)

// weakPrimes are the small primes of the fingerprint in M. Nemec, M. Sys, P. Svenda, D. Klinec and
// V. Matyas, "The Return of Coppersmith's Attack" (ACM CCS 2017), section 3.3: the library made
// primes of the form k*M + (65537^a mod M), M the product of the first primes, so that every
// modulus is a power of 65537 modulo each of them.
var weakPrimes = []uint16{
	3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101,
	103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
}

// weakModulus reports whether n has the form of CVE-2017-15361. A modulus made otherwise has it
// with a probability of about 2^-27.
func weakModulus(n *big.Int) bool {
	// One division by a number of several words, and 38 by small ones of what is left.
	product, rest := big.NewInt(1), new(big.Int)
	for _, prime := range weakPrimes {
		product.Mul(product, rest.SetUint64(uint64(prime)))
	}
	rest.Mod(n, product)
	var small, residue big.Int
	for _, prime := range weakPrimes {
		small.SetUint64(uint64(prime))
		if !isPowerOf65537(uint16(residue.Mod(rest, &small).Uint64()), prime) { //nolint:gosec // below prime
			return false
		}
	}
	return true
}

// isPowerOf65537 reports whether residue is 65537^a modulo prime for some a.
func isPowerOf65537(residue, prime uint16) bool {
	step := uint32(65537 % uint32(prime))
	power := uint32(1)
	for range prime {
		if power == uint32(residue) {
			return true
		}
		power = power * step % uint32(prime)
	}
	return false
}
