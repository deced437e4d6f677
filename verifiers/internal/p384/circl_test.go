//go:build !purego && (amd64 || arm64)

package p384_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"math/big"
	"testing"

	circl "github.com/cloudflare/circl/ecc/p384"

	"github.com/attestd/attestd/verifiers/internal/p384"
)

// circlVerify is FIPS 186-5, section 6.4.2, over circl's arithmetic.
func circlVerify(t *testing.T, public *ecdsa.PublicKey, digest, rb, sb []byte) bool {
	t.Helper()
	if !p384.InRange(rb) || !p384.InRange(sb) {
		return false
	}
	encoded, err := public.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	n := elliptic.P384().Params().N
	r, w := new(big.Int).SetBytes(rb), new(big.Int).ModInverse(new(big.Int).SetBytes(sb), n)
	u := new(big.Int).Mul(new(big.Int).SetBytes(digest), w)
	v := new(big.Int).Mul(r, w)
	u.Mod(u, n)
	v.Mod(v, n)
	if u.Sign() == 0 || v.Sign() == 0 { // circl's arithmetic takes positive scalars only
		return ecdsa.Verify(public, digest, r, new(big.Int).SetBytes(sb))
	}
	curve := circl.P384()
	x, y := curve.CombinedMult(new(big.Int).SetBytes(encoded[1:49]),
		new(big.Int).SetBytes(encoded[49:]), u.Bytes(), v.Bytes())
	return !curve.IsAtInfinity(x, y) && x.Mod(x, n).Cmp(r) == 0
}
