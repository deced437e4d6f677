package ear

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"

	"github.com/attestd/attestd"
)

const (
	// algorithm is the only one: a token cannot choose (RFC 8725, section 3.1).
	algorithm = "ES256"
	// tokenType is the only typ (RFC 9782, section 4.2; RFC 8725, section 3.11).
	tokenType  = "eat+jwt"
	coordinate = 32
	// maxToken bounds a token before anything of it is read.
	maxToken  = 64 << 10
	maxHeader = 1 << 10
)

// header is what a token begins with, and all that it may begin with: a reader that understood jku, x5u,
// jwk, x5c, crit, zip or b64 would let whoever wrote the token say how it is to be verified.
type header struct {
	Alg *string `json:"alg"`
	Kid *string `json:"kid"`
	Typ *string `json:"typ"`
}

// open verifies the signature of a compact JWS (RFC 7515, section 7.1) and returns its payload.
func open(token string, keys *KeySet) ([]byte, error) {
	if len(token) > maxToken {
		return nil, refused(attestd.ClassTooLarge, "token of %d bytes, want at most %d", len(token), maxToken)
	}
	// Five parts are a JWE (RFC 7516, section 7.1), which nothing here ever decrypts.
	if dots := strings.Count(token, "."); dots != 2 {
		return nil, refused(attestd.ClassMalformed, "token of %d parts, want 3: a signed token", dots+1)
	}
	parts := strings.Split(token, ".")
	if len(parts[0]) > maxHeader {
		return nil, refused(attestd.ClassTooLarge, "token with a header of %d bytes, want at most %d",
			len(parts[0]), maxHeader)
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = decodeBase64(part); err != nil {
			return nil, refused(attestd.ClassMalformed, "token: part %d: %w", i+1, err)
		}
	}
	key, err := keyOf(decoded[0], keys)
	if err != nil {
		return nil, err
	}
	raw := decoded[2]
	if len(raw) != 2*coordinate {
		return nil, refused(attestd.ClassUnauthenticated, "token: signature of %d bytes, want %d",
			len(raw), 2*coordinate)
	}
	digest := sha256.Sum256([]byte(token[:len(parts[0])+1+len(parts[1])]))
	r, s := new(big.Int).SetBytes(raw[:coordinate]), new(big.Int).SetBytes(raw[coordinate:])
	if !ecdsa.Verify(key, digest[:], r, s) {
		return nil, refused(attestd.ClassUnauthenticated, "token: the signature is not the named key's")
	}
	return decoded[1], nil
}

// keyOf reads the header and returns the key that it names.
func keyOf(document []byte, keys *KeySet) (*ecdsa.PublicKey, error) {
	var head header
	if err := decode(document, maxHeader, &head); err != nil {
		return nil, refused(attestd.ClassUnauthenticated, "token header: %w", err)
	}
	switch {
	case head.Alg == nil || *head.Alg != algorithm:
		return nil, refused(attestd.ClassUnauthenticated, "token header: alg is %s, want %s", quote(head.Alg), algorithm)
	case head.Typ == nil || *head.Typ != tokenType:
		return nil, refused(attestd.ClassUnauthenticated, "token header: typ is %s, want %s", quote(head.Typ), tokenType)
	case head.Kid == nil || !isKeyID(*head.Kid):
		return nil, refused(attestd.ClassUnauthenticated, "token header: kid is %s, want the id of a key", quote(head.Kid))
	}
	key := keys.keys[*head.Kid]
	if key == nil {
		return nil, &UnknownKeyError{ID: *head.Kid}
	}
	return key, nil
}

// UnknownKeyError says that the key which a token names is not in the set. The set may be older than the
// key: fetch it again, once, and not more often than some seconds apart.
type UnknownKeyError struct{ ID string }

// Error names the key.
func (e *UnknownKeyError) Error() string {
	return "token: key " + quote(&e.ID) + " is not in the set of keys"
}

// Unwrap returns the refusal of class UNAUTHENTICATED that it is.
func (e *UnknownKeyError) Unwrap() error {
	return refused(attestd.ClassUnauthenticated, "the key is not known")
}

func quote(text *string) string {
	if text == nil {
		return "missing"
	}
	return `"` + attestd.Excerpt(*text, 40) + `"`
}

// decodeBase64 reads base64url without padding in its one spelling (RFC 7515, section 2). The standard
// decoder passes over line breaks, which would give one token many spellings.
func decodeBase64(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("line break in base64url")
	}
	out, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errors.New("not base64url without padding")
	}
	return out, nil
}
