package tpmtrust

import (
	"crypto/x509"
	"math/big"

	"github.com/attestd/attestd/verifiers/internal/tpm2"
)

// WithRoot lets a test see what a store does with a pinned root of that use.
func WithRoot(s *Store, root *x509.Certificate, kind string) *Store {
	s.anchor(&anchor{certificate: root, vendor: "test", use: use(kind)})
	return s
}

// WeakModulus is weakModulus.
func WeakModulus(n *big.Int) bool { return weakModulus(n) }

// Share is share with the key's own hash.
func Share(ek tpm2.Public, entropy []byte) (seed, encrypted []byte, err error) {
	hash, _ := tpm2.Hash(ek.NameAlg)
	return share(hash, ek, entropy)
}
