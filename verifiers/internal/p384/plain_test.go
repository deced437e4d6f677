//go:build purego || !(amd64 || arm64)

package p384_test

import (
	"crypto/ecdsa"
	"math/big"
	"testing"
)

// circlVerify is crypto/ecdsa's where circl has no assembly: its portable code panics on some
// inputs.
func circlVerify(_ *testing.T, public *ecdsa.PublicKey, digest, r, s []byte) bool {
	return ecdsa.Verify(public, digest, new(big.Int).SetBytes(r), new(big.Int).SetBytes(s))
}
