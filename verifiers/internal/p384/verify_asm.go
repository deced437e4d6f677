//go:build !purego && (amd64 || arm64)

package p384

import (
	"crypto/elliptic"
	"math/big"

	"github.com/cloudflare/circl/ecc/p384"
)

// verify does FIPS 186-5, section 6.4.2, steps 3 to 7. The inputs were checked by Verify.
func (k Key) verify(digest []byte, r, s *big.Int) bool {
	order := elliptic.P384().Params().N
	w := new(big.Int).ModInverse(s, order)
	u := new(big.Int).SetBytes(digest)
	u.Mul(u, w).Mod(u, order)
	v := w.Mul(r, w)
	v.Mod(v, order)
	if u.Sign() == 0 || v.Sign() == 0 {
		return k.verifyPlain(digest, r, s) // CombinedMult takes positive scalars only
	}
	curve := p384.P384()
	x, y := curve.CombinedMult(k.x, k.y, u.Bytes(), v.Bytes())
	if curve.IsAtInfinity(x, y) {
		return false // step 5: without this, x = 0 could be taken for a signature with r = 0 mod n
	}
	return x.Mod(x, order).Cmp(r) == 0
}
