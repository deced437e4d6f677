package challenge

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// Signatures are Ed25519 and nothing else (RFC 8037 section 3.1: "EdDSA"): it needs no randomness
// per signature, so a weak generator cannot leak the key.
const (
	signatureAlgorithm = jose.EdDSA
	// signatureType keeps a signed challenge from being taken for any other JWS of the same key
	// (RFC 8725 section 3.11: explicit typing).
	signatureType = "attestd-challenge+jws"
	pemType       = "PRIVATE KEY"
)

// Signer signs challenges with one key, which is used for nothing else.
type Signer struct {
	id     string
	public jose.JSONWebKey
	signer jose.Signer
}

// NewEphemeralSigner returns a signer whose key is gone with the process.
func NewEphemeralSigner() (*Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make challenge key: %w", err)
	}
	return newSigner(key)
}

// OpenSigner returns a signer over the key in the file, which it makes where there is none.
//
// Errors: those of [OpenKey].
func OpenSigner(path string) (*Signer, error) {
	key, err := OpenKey(path)
	if err != nil {
		return nil, err
	}
	return newSigner(key)
}

// OpenKey returns the Ed25519 key in the file, which it makes where there is none. Each key of
// attestd's signs one kind of thing and lies in a file of its own, whose name errors say.
//
// Errors: where the file is readable by others than its owner, or holds anything but one Ed25519 key
// in PKCS #8 PEM. A key that cannot be read is never replaced: somebody may have pinned it.
func OpenKey(path string) (ed25519.PrivateKey, error) {
	name := filepath.Base(path)
	file, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createKey(path); err != nil {
			return nil, err
		}
		file, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if open := info.Mode().Perm() & 0o077; open != 0 {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig,
			Hint:  "chmod 600 " + path,
			Err:   fmt.Errorf("%s has mode %04o, want 0600", name, info.Mode().Perm()),
		}
	}
	block, rest := pem.Decode(file)
	if block == nil || block.Type != pemType || len(bytes.TrimSpace(rest)) != 0 {
		return nil, fmt.Errorf("%s is not one PEM block of type %q", name, pemType)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s is a %T, want an Ed25519 key", name, parsed)
	}
	return key, nil
}

// createKey writes a new key beside path and links it into place, so that two processes that start
// at once end with the same key and a crash leaves no half of one.
func createKey(path string) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make %s: %w", filepath.Base(path), err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("make %s: %w", filepath.Base(path), err)
	}
	fresh, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return fmt.Errorf("make %s: %w", filepath.Base(path), err)
	}
	defer func() { _ = os.Remove(fresh.Name()) }()
	_, err = fresh.Write(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}))
	if err = errors.Join(err, fresh.Sync(), fresh.Close()); err != nil {
		return fmt.Errorf("make %s: %w", filepath.Base(path), err)
	}
	if err := os.Link(fresh.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make %s: %w", filepath.Base(path), err)
	}
	return nil
}

func newSigner(key ed25519.PrivateKey) (*Signer, error) {
	public := jose.JSONWebKey{Key: key.Public(), Use: "sig", Algorithm: string(signatureAlgorithm)}
	thumbprint, err := public.Thumbprint(crypto.SHA256) // RFC 7638
	if err != nil {
		return nil, fmt.Errorf("challenge key id: %w", err)
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: signatureAlgorithm, Key: jose.JSONWebKey{Key: key, KeyID: public.KeyID}},
		(&jose.SignerOptions{}).WithType(signatureType))
	if err != nil {
		return nil, fmt.Errorf("challenge signer: %w", err)
	}
	return &Signer{id: public.KeyID, public: public, signer: signer}, nil
}

// KeyID names the key: its RFC 7638 thumbprint.
func (s *Signer) KeyID() string { return s.id }

// KeySet returns the JWK set with the public key.
func (s *Signer) KeySet() ([]byte, error) {
	return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{s.public}})
}

// Sign returns the challenge as a compact JWS.
func (s *Signer) Sign(challenge attestd.Challenge) (string, error) {
	payload, err := json.Marshal(challenge)
	if err != nil {
		return "", fmt.Errorf("sign challenge: %w", err)
	}
	signed, err := s.signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign challenge: %w", err)
	}
	return signed.CompactSerialize()
}

// maxReply is the largest reply that ParseReply reads.
const maxReply = 16 << 10

// VerifySignature reports whether the reply's signature is by a key of the set and covers exactly
// the challenge beside it. An attester that skips it lets whoever sits on the connection choose the
// nonce, tenant and purpose that its evidence will be bound to.
func (r Reply) VerifySignature(keySet []byte) error {
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(keySet, &keys); err != nil {
		return fmt.Errorf("key set: %w", err)
	}
	signed, err := jose.ParseSignedCompact(r.Signature, []jose.SignatureAlgorithm{signatureAlgorithm})
	if err != nil {
		return fmt.Errorf("challenge signature: %w", err)
	}
	header := signed.Signatures[0].Protected
	if kind, _ := header.ExtraHeaders[jose.HeaderType].(string); kind != signatureType {
		return fmt.Errorf("challenge signature has type %q, want %q", attestd.Excerpt(kind, 40), signatureType)
	}
	found := keys.Key(header.KeyID)
	if len(found) != 1 || header.KeyID != r.Challenge.VerifierKeyID {
		return fmt.Errorf("challenge is signed by key %q, which is not the one it names or not in the set",
			attestd.Excerpt(header.KeyID, 60))
	}
	payload, err := signed.Verify(found[0].Public())
	if err != nil {
		return fmt.Errorf("challenge signature: %w", err)
	}
	want, err := json.Marshal(r.Challenge)
	if err != nil {
		return fmt.Errorf("challenge signature: %w", err)
	}
	if !bytes.Equal(payload, want) {
		return errors.New("the signature covers another challenge than the one beside it")
	}
	return nil
}

// ParseReply reads the document that POST /v1/challenges answers with. It does not verify the
// signature.
//
// Errors: a [*attestd.CallerError] of class MALFORMED.
func ParseReply(document []byte) (Reply, error) {
	reply, err := parseReply(document)
	if err != nil {
		return Reply{}, &attestd.CallerError{
			Class: attestd.ClassMalformed,
			Hint:  "give the reply of POST /v1/challenges as it came",
			Err:   fmt.Errorf("challenge document: %w", err),
		}
	}
	return reply, nil
}

func parseReply(document []byte) (Reply, error) {
	var reply Reply
	if err := strict.DecodeJSON(document, strict.JSONLimits{Bytes: maxReply, Depth: 2}, &reply); err != nil {
		return Reply{}, err
	}
	if reply.Schema != Schema {
		return Reply{}, fmt.Errorf("schema is %q, want %q", attestd.Excerpt(reply.Schema, 40), Schema)
	}
	if reply.Challenge.ID == "" || strings.Count(reply.Signature, ".") != 2 {
		return Reply{}, errors.New("the challenge's id or its signature is missing")
	}
	if _, err := reply.Challenge.Binding(nil).Digest(); err != nil {
		return Reply{}, err
	}
	if made := reply.Activation; made != nil &&
		(len(made.CredentialBlob) == 0 || len(made.EncryptedSecret) == 0 || reply.Activated) {
		return Reply{}, errors.New("the credential lacks a part, or says that none is needed")
	}
	return reply, nil
}
