package svid

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/json"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// SealedType is the typ of an answer that is encrypted.
const SealedType = "attestd-svid+jwe"

// seal encrypts the answer to the holder's key (RFC 7516, compact).
func seal(document Document, key crypto.PublicKey) (string, error) {
	algorithm := jose.ECDH_ES_A256KW
	switch key.(type) {
	case *ecdsa.PublicKey:
	case *rsa.PublicKey:
		algorithm = jose.RSA_OAEP_256
	default:
		return "", fmt.Errorf("nothing is encrypted to a key of type %T", key)
	}
	plain, err := json.Marshal(document)
	if err != nil {
		return "", fmt.Errorf("answer: %w", err)
	}
	recipient := jose.Recipient{Algorithm: algorithm, Key: key}
	encrypter, err := jose.NewEncrypter(jose.A256GCM, recipient,
		(&jose.EncrypterOptions{}).WithType(SealedType).WithContentType("json"))
	if err != nil {
		return "", fmt.Errorf("encrypt: %w", err)
	}
	sealed, err := encrypter.Encrypt(plain)
	if err != nil {
		return "", fmt.Errorf("encrypt: %w", err)
	}
	return sealed.CompactSerialize()
}
