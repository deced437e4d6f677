//go:build purego || !(amd64 || arm64)

package p384

import "math/big"

// verify is crypto/ecdsa's where there is no assembly: circl's portable code panics on some inputs.
func (k Key) verify(digest []byte, r, s *big.Int) bool { return k.verifyPlain(digest, r, s) }
