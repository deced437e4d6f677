package issuance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/attestd/attestd"
)

// Bounds of an agent's key. Larger RSA keys cost whoever verifies with them more than they are worth.
const (
	maxSPKI    = 1 << 10
	minRSABits = 2048
	maxRSABits = 4096
)

// checkKey refuses keys that no certificate is made for: of another kind, weak, so large that they
// burden whoever verifies, or in another than their one encoding, whose digest would name them a second
// time.
//
// Errors: a [*attestd.CallerError] of class TOO_LARGE, MALFORMED or KEY_PROPERTIES.
func checkKey(spki []byte) error {
	fault := func(class attestd.Class, err error) error {
		return &attestd.CallerError{
			Class: class, Err: err, Hint: "make the agent's key EC P-256, as SPIRE does by default",
		}
	}
	if len(spki) > maxSPKI {
		return fault(attestd.ClassTooLarge,
			fmt.Errorf("key of %d bytes, want at most %d", len(spki), maxSPKI))
	}
	parsed, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return fault(attestd.ClassMalformed, errors.New("the key is no SubjectPublicKeyInfo"))
	}
	again, err := x509.MarshalPKIXPublicKey(parsed)
	if err != nil || !bytes.Equal(again, spki) {
		return fault(attestd.ClassMalformed, errors.New("the key is not in its one DER encoding"))
	}
	switch key := parsed.(type) {
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() || key.Curve == elliptic.P384() {
			return nil
		}
	case *rsa.PublicKey:
		switch bits := key.N.BitLen(); {
		case bits > maxRSABits:
			return fault(attestd.ClassTooLarge, fmt.Errorf("RSA key of %d bits", bits))
		case bits >= minRSABits && key.E >= 1<<16+1 && key.E%2 == 1:
			return nil
		}
	}
	return fault(attestd.ClassKeyProperties, fmt.Errorf("a key of type %T that is not allowed", parsed))
}
