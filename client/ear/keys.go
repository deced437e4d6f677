package ear

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// Bounds of a set of keys.
const (
	maxKeySet = 64 << 10
	maxKeys   = 64
	maxKeyID  = 64
)

// KeySet has the keys of an issuer. The zero KeySet has none, and verifies nothing.
type KeySet struct{ keys map[string]*ecdsa.PublicKey }

// Len returns how many keys of the set can verify a result.
func (s *KeySet) Len() int { return len(s.keys) }

// ParseKeySet reads a JWK set (RFC 7517), as GET /.well-known/jwks.json gives it. Keys of other kinds or
// for other uses are passed over, as section 5 asks.
//
// Errors: a [*attestd.CallerError] of class MALFORMED or TOO_LARGE; also where two keys have one id, or
// a private key is in it.
func ParseKeySet(document []byte) (*KeySet, error) {
	if len(document) > maxKeySet {
		return nil, refused(attestd.ClassTooLarge, "key set of %d bytes, want at most %d", len(document), maxKeySet)
	}
	var set map[string]json.RawMessage
	if err := decode(document, maxKeySet, &set); err != nil {
		return nil, refused(attestd.ClassMalformed, "key set: %w", err)
	}
	var list []map[string]json.RawMessage
	if set["keys"] == nil || decode(set["keys"], maxKeySet, &list) != nil || list == nil {
		return nil, refused(attestd.ClassMalformed, "key set: no list of keys")
	}
	if len(list) > maxKeys {
		return nil, refused(attestd.ClassTooLarge, "key set of %d keys, want at most %d", len(list), maxKeys)
	}
	out := &KeySet{keys: map[string]*ecdsa.PublicKey{}}
	for _, one := range list {
		id, key, err := readKey(one)
		if err != nil {
			return nil, refused(attestd.ClassMalformed, "key set: %w", err)
		}
		if key == nil {
			continue
		}
		if out.keys[id] != nil {
			return nil, refused(attestd.ClassMalformed, "key set: two keys are named %q", attestd.Excerpt(id, 60))
		}
		out.keys[id] = key
	}
	return out, nil
}

// readKey returns a key that results are verified with; nil for one of another kind.
func readKey(members map[string]json.RawMessage) (id string, key *ecdsa.PublicKey, err error) {
	for _, private := range []string{"d", "p", "q", "k"} {
		if members[private] != nil {
			return "", nil, errors.New("it holds a private key: whoever published it must withdraw it")
		}
	}
	text := func(name string) string {
		var value string
		if members[name] == nil || decode(members[name], maxKeySet, &value) != nil {
			return ""
		}
		return value
	}
	uses := true
	if members["key_ops"] != nil {
		var operations []string
		uses = decode(members["key_ops"], maxKeySet, &operations) == nil && slices.Contains(operations, "verify")
	}
	if members["use"] != nil {
		uses = uses && text("use") == "sig"
	}
	if text("kty") != "EC" || text("crv") != "P-256" || text("alg") != algorithm || !uses {
		return "", nil, nil
	}
	if id = text("kid"); !isKeyID(id) {
		return "", nil, errors.New("a key has no id, or a strange one")
	}
	point := []byte{4} // SEC 1, section 2.3.3: uncompressed
	for _, name := range []string{"x", "y"} {
		part, err := decodeBase64(text(name))
		if err != nil || len(part) != coordinate {
			return "", nil, fmt.Errorf("key %q: a coordinate is not %d bytes in base64url", id, coordinate)
		}
		point = append(point, part...)
	}
	if key, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point); err != nil {
		return "", nil, fmt.Errorf("key %q is no point of P-256", id)
	}
	return id, key, nil
}

// isKeyID reports whether an id is short and plain. It is compared and shown, never a name of a file.
func isKeyID(id string) bool {
	if id == "" || len(id) > maxKeyID {
		return false
	}
	for _, letter := range []byte(id) {
		if letter <= ' ' || letter > '~' {
			return false
		}
	}
	return true
}

// depth is how far the documents read here are nested: a token has submods, their claims, and policies.
const depth = 6

func decode(document []byte, most int, into any) error {
	return strict.DecodeJSON(document, strict.JSONLimits{Bytes: most, Depth: depth}, into)
}

// refused is an answer about what was given. Nothing of it is believed.
func refused(class attestd.Class, format string, args ...any) error {
	hint := "ask the verifier for a new result"
	if class == attestd.ClassConfig {
		hint = "say what results are expected; see the package's Options"
	}
	return &attestd.CallerError{Class: class, Hint: hint, Err: fmt.Errorf(format, args...)}
}
