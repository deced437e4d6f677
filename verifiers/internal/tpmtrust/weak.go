package tpmtrust

import (
	"crypto"
	"crypto/rsa"
)

// WeakKey reports whether a key is an RSA key whose modulus has the form of CVE-2017-15361, so that
// its private half can be computed.
func WeakKey(public crypto.PublicKey) bool {
	key, ok := public.(*rsa.PublicKey)
	return ok && weakModulus(key.N)
}
