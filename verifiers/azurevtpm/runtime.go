package azurevtpm

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// runtime are the paravisor's runtime claims.
type runtime struct {
	// ak is the SHA-256 of the attestation key's DER SubjectPublicKeyInfo.
	ak [sha256.Size]byte
	// vmID is vmUniqueId in lower case; empty where there is none.
	vmID string
	// config are the members of vm-configuration that are known here and of their own type: bool, text
	// or a number. unknown are the names of all others, those beside vm-configuration included, sorted.
	config   map[string]any
	unknown  []string
	userData []byte
}

// claimLimits bound the claims. Azure's have 1,200 bytes and a depth of 3.
var claimLimits = strict.JSONLimits{Bytes: 8 << 10, Depth: 4}

// The keys that the paravisor names, and the members that are known.
const (
	keyAttestation = "HCLAkPub"
	maxKeys        = 8
)

// configKinds are the members of vm-configuration by the type of their value.
var configKinds = map[string]any{
	"console-enabled": false, "interactive-console-enabled": false, "ipmi-enabled": false,
	"secure-boot": false, "tpm-enabled": false, "tpm-persisted": false,
	"filtered-vpci-devices-allowed": false,

	"tpm-version": "", "root-cert-thumbprint": "", "hardware-sealing-policy": "", "vmUniqueId": "",

	"current-time": int64(0),
}

// readRuntime reads the claims. The CPU signed their hash, so what they say is what the paravisor said;
// strictness is for us: two readers must not find two keys in them.
func readRuntime(claims []byte) (runtime, *fault) {
	var members map[string]json.RawMessage
	if err := strict.DecodeJSON(claims, claimLimits, &members); err != nil {
		return runtime{}, refuse(checkClaims, "", wantClaims).because(err)
	}
	out := runtime{}
	steps := map[string]func(json.RawMessage) error{
		"keys": out.readKeys, "vm-configuration": out.readConfig, "user-data": out.readUserData,
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		read, known := steps[name]
		if !known {
			out.unknown = append(out.unknown, name)
			continue
		}
		if err := read(members[name]); err != nil {
			return runtime{}, refuse(checkClaims, "", wantClaims).because(
				fmt.Errorf("%s: %w", name, err))
		}
	}
	switch {
	case out.ak == [sha256.Size]byte{}:
		return runtime{}, refuse(checkClaims, "no key "+keyAttestation, "one key "+keyAttestation)
	case out.config == nil:
		return runtime{}, refuse(checkClaims, "no vm-configuration", wantClaims)
	}
	return out, nil
}

// readKeys looks for the attestation key. A second of that name would be another TPM's.
func (r *runtime) readKeys(raw json.RawMessage) error {
	var keys []struct {
		ID         string   `json:"kid"`
		Operations []string `json:"key_ops"`
		Type       string   `json:"kty"`
		E          string   `json:"e"`
		N          string   `json:"n"`
	}
	if err := strict.DecodeJSON(raw, claimLimits, &keys); err != nil {
		return err
	}
	if len(keys) > maxKeys {
		return fmt.Errorf("%d keys, want at most %d", len(keys), maxKeys)
	}
	for _, key := range keys {
		if key.ID != keyAttestation {
			continue
		}
		switch {
		case r.ak != [sha256.Size]byte{}:
			return errors.New("two keys " + keyAttestation)
		case key.Type != "RSA" || !slices.Equal(key.Operations, []string{"sign"}):
			return fmt.Errorf("%s is a key of type %q for %q, want an RSA key for [\"sign\"]",
				keyAttestation, attestd.Excerpt(key.Type, 20), key.Operations)
		}
		public, err := rsaKey(key.E, key.N)
		if err != nil {
			return fmt.Errorf("%s: %w", keyAttestation, err)
		}
		spki, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			return fmt.Errorf("%s: %w", keyAttestation, err)
		}
		r.ak = sha256.Sum256(spki)
	}
	return nil
}

// rsaKey reads exponent and modulus (RFC 7518, section 6.3.1: base64url without padding, big-endian
// and in as few octets as hold them). How good the key is, the verifier of TPM quotes says.
func rsaKey(exponent, modulus string) (*rsa.PublicKey, error) {
	var numbers [2]*big.Int
	for at, text := range [...]string{exponent, modulus} {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if err != nil || len(raw) == 0 || len(raw) > 512 || raw[0] == 0 {
			return nil, errors.New("exponent or modulus is not base64url of a number")
		}
		numbers[at] = new(big.Int).SetBytes(raw)
	}
	if numbers[0].BitLen() > 31 {
		return nil, fmt.Errorf("an exponent of %d bits", numbers[0].BitLen())
	}
	return &rsa.PublicKey{E: int(numbers[0].Int64()), N: numbers[1]}, nil
}

// readConfig keeps what is known. A member of another paravisor version is counted, not refused: the
// policy says what it makes of one.
func (r *runtime) readConfig(raw json.RawMessage) error {
	var members map[string]json.RawMessage
	if err := strict.DecodeJSON(raw, claimLimits, &members); err != nil {
		return err
	}
	if members == nil {
		return errors.New("null in place of an object")
	}
	r.config = make(map[string]any, len(members))
	for _, name := range slices.Sorted(maps.Keys(members)) {
		standard, known := configKinds[name]
		if !known {
			r.unknown = append(r.unknown, name)
			continue
		}
		value, err := member(members[name], standard)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.config[name] = value
	}
	id, _ := r.config["vmUniqueId"].(string)
	if id == "" {
		return nil
	}
	var ok bool
	if r.vmID, ok = guid(id); !ok {
		return fmt.Errorf("vmUniqueId %q, want a GUID other than zeros", attestd.Excerpt(id, 40))
	}
	return nil
}

// member reads a value of the type of standard.
func member(raw json.RawMessage, standard any) (any, error) {
	var err error
	switch value := standard.(type) {
	case bool:
		err = strict.DecodeJSON(raw, claimLimits, &value)
		return value, err
	case int64:
		err = strict.DecodeJSON(raw, claimLimits, &value)
		return value, err
	default:
		var text string
		if err = strict.DecodeJSON(raw, claimLimits, &text); err == nil && len(text) > 128 {
			err = fmt.Errorf("%d bytes, want at most 128", len(text))
		}
		return text, err
	}
}

// guid returns the text in lower case if it is a GUID in its usual form that names something. Every
// Windows writes GUIDs in the case that it likes: two spellings must not be two machines.
func guid(text string) (string, bool) {
	text = strings.ToLower(text)
	parts := strings.Split(text, "-")
	if len(parts) != 5 {
		return "", false
	}
	for at, size := range [...]int{8, 4, 4, 4, 12} {
		if len(parts[at]) != size || strings.Trim(parts[at], "0123456789abcdef") != "" {
			return "", false
		}
	}
	return text, strings.Trim(text, "0-") != "" && strings.Trim(text, "f-") != ""
}

// readUserData reads the 64 bytes that the guest left for the paravisor to repeat.
func (r *runtime) readUserData(raw json.RawMessage) error {
	var text string
	if err := strict.DecodeJSON(raw, claimLimits, &text); err != nil {
		return err
	}
	data, err := hex.DecodeString(text)
	if err != nil || len(data) != 0 && len(data) != 64 {
		return errors.New("not 64 bytes in hex: " + strconv.Itoa(len(text)) + " characters")
	}
	r.userData = data
	return nil
}

// reportData is what the CPU's report says over the claims: their SHA-256, and zeros.
func reportData(claims []byte) []byte {
	digest := sha256.Sum256(claims)
	return append(bytes.Clone(digest[:]), make([]byte, 32)...)
}
