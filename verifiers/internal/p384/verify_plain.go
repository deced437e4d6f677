//go:build purego || !(amd64 || arm64)

package p384

import "math/big"

// memory is empty where no tables are made.
type memory struct{}

// Precompute does nothing here: crypto/ecdsa keeps nothing of a key.
func (k Key) Precompute() {}

// verify is crypto/ecdsa's where the arithmetic here was not measured or is not wanted.
func (k Key) verify(digest []byte, r, s *big.Int) bool { return k.verifyPlain(digest, r, s) }
