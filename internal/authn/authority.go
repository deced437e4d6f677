package authn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// authority is a key that signs JWT-SVIDs, with the algorithms that it can have signed with: the token
// does not choose (RFC 8725, section 3.1).
type authority struct {
	key        crypto.PublicKey
	algorithms []jose.SignatureAlgorithm
}

// authorityOf returns the algorithms of JWT-SVID section 2.1 that go with the key.
func authorityOf(public crypto.PublicKey) (authority, bool) {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return authority{key, []jose.SignatureAlgorithm{jose.ES256}}, true
		case elliptic.P384():
			return authority{key, []jose.SignatureAlgorithm{jose.ES384}}, true
		case elliptic.P521():
			return authority{key, []jose.SignatureAlgorithm{jose.ES512}}, true
		}
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits >= 2048 && bits <= 8192 {
			return authority{key, []jose.SignatureAlgorithm{
				jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
			}}, true
		}
	}
	return authority{}, false
}

func (a authority) allows(algorithm string) bool {
	return slices.Contains(a.algorithms, jose.SignatureAlgorithm(algorithm))
}

func (a authority) equal(b authority) bool {
	key, ok := a.key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b.key)
}
