package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
)

// Purpose is what the keys of a ring sign, as in "result". It names a folder.
type Purpose string

// PurposeResult is that of attestation results.
const PurposeResult Purpose = "result"

func (p Purpose) check() error {
	if p == "" || len(p) > 32 {
		return errors.New("a ring of keys needs a purpose of at most 32 letters")
	}
	for _, letter := range []byte(p) {
		if (letter < 'a' || letter > 'z') && letter != '-' {
			return fmt.Errorf("%q is no purpose of keys: use a-z and -", string(p))
		}
	}
	return nil
}

// Signer signs with one P-256 key. It may be slow, and it may fail: whoever asks it gives it a time and
// looks at what it answers.
type Signer interface {
	// Public returns the public half.
	Public() *ecdsa.PublicKey
	// Sign returns the signature of a SHA-256 digest in ASN.1 DER, as KMS and PKCS #11 modules do.
	Sign(ctx context.Context, digest [sha256.Size]byte) (der []byte, err error)
}

// Vault keeps private keys. [Files] is the one there is; a KMS, a PKCS #11 token or a TPM is another.
// A key is known by its id ([KeyID]). It is safe for concurrent use.
type Vault interface {
	// Make makes a key, and returns when it is durable.
	Make(ctx context.Context) (Signer, error)
	// Open returns the key with that id. It never makes one.
	Open(ctx context.Context, id string) (Signer, error)
	// Destroy ends the private half for good. That there is none with the id is no error.
	Destroy(ctx context.Context, id string) error
	// IDs returns the ids of all keys that there are.
	IDs(ctx context.Context) ([]string, error)
}

// coordinate is the length of a coordinate of P-256, and of each half of a signature.
const coordinate = 32

// KeyID returns the id of a public key: its RFC 7638 thumbprint under SHA-256, in base64url.
//
// Errors: where the key is none on P-256.
func KeyID(public *ecdsa.PublicKey) (string, error) {
	x, y, err := coordinates(public)
	if err != nil {
		return "", err
	}
	// Members of an EC key in the one order and spelling there is (RFC 7638, sections 3.2 and 3.3).
	digest := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`))
	return base64.RawURLEncoding.EncodeToString(digest[:]), nil
}

// coordinates returns both in base64url, as RFC 7518 section 6.2.1 has them.
func coordinates(public *ecdsa.PublicKey) (x, y string, err error) {
	if public == nil || public.Curve != elliptic.P256() {
		return "", "", errors.New("not a key on P-256")
	}
	point, err := public.Bytes() // 4, X, Y (SEC 1, section 2.3.3)
	if err != nil || len(point) != 1+2*coordinate {
		return "", "", errors.New("not a point of P-256")
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode(point[1 : 1+coordinate]), encode(point[1+coordinate:]), nil
}

// publicOf is the way back.
func publicOf(x, y string) (*ecdsa.PublicKey, error) {
	point := []byte{4}
	for _, text := range []string{x, y} {
		part, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if err != nil || len(part) != coordinate {
			return nil, fmt.Errorf("a coordinate is not %d bytes in base64url", coordinate)
		}
		point = append(point, part...)
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}

// inMemory is a signer over a key of this process.
type inMemory struct{ key *ecdsa.PrivateKey }

func (s inMemory) Public() *ecdsa.PublicKey { return &s.key.PublicKey }

func (s inMemory) Sign(_ context.Context, digest [sha256.Size]byte) ([]byte, error) {
	return s.key.Sign(nil, digest[:], crypto.SHA256) // nil: deterministic, RFC 6979
}
