package audit

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/attestd/attestd"
)

const pemType = "PRIVATE KEY"

// Signer signs checkpoints with one key, which is used for nothing else. A key in a KMS or a TPM is
// another Signer.
type Signer interface {
	note.Signer
	// Public is the key by which the signatures are known, as a line of text (C2SP signed-note).
	Public() string
}

// Key is a [Signer] over an Ed25519 key in a file.
type Key struct {
	name, public string
	hash         uint32
	key          ed25519.PrivateKey
}

// Name returns the origin of the log.
func (k *Key) Name() string { return k.name }

// KeyHash returns the number that notes name the key by.
func (k *Key) KeyHash() uint32 { return k.hash }

// Public returns the verifier key, as in "example.org/attestd/audit+1c3f...+AY0...".
func (k *Key) Public() string { return k.public }

// Sign signs a message.
func (k *Key) Sign(message []byte) ([]byte, error) { return ed25519.Sign(k.key, message), nil }

// Origin names the log of a trust domain in its checkpoints.
func Origin(trustDomain string) string { return trustDomain + "/attestd/audit" }

// OpenKey returns the key in the file, which it makes where there is none. The public half lies beside
// it, under the same name with ".pub".
//
// Errors: where the file can be read by others than its owner, or holds anything but one Ed25519 key in
// PKCS #8 PEM. A key that cannot be read is never replaced: the log would have two histories.
func OpenKey(path, origin string) (*Key, error) {
	file, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createKey(path); err != nil {
			return nil, fmt.Errorf("make audit key: %w", err)
		}
		file, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read audit key: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read audit key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "chmod 600 " + path,
			Err: fmt.Errorf("audit key has mode %04o, want 0600", info.Mode().Perm()),
		}
	}
	key, err := parseKey(file, origin)
	if err != nil {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig,
			Hint:  "put the key back from a backup; a new one begins a new log",
			Err:   err,
		}
	}
	return key, writeWhole(path+".pub", []byte(key.public+"\n"), 0o644)
}

func parseKey(file []byte, origin string) (*Key, error) {
	block, rest := pem.Decode(file)
	if block == nil || block.Type != pemType || len(bytes.TrimSpace(rest)) != 0 {
		return nil, fmt.Errorf("audit key is not one PEM block of type %q", pemType)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("audit key is not PKCS #8") // the cause could quote the file
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("audit key is a %T, want an Ed25519 key", parsed)
	}
	return newKey(private, origin)
}

func newKey(private ed25519.PrivateKey, origin string) (*Key, error) {
	public, ok := private.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("audit key has no public half")
	}
	text, err := note.NewEd25519VerifierKey(origin, public)
	if err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	verifier, err := note.NewVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("audit key for the origin %q: %w", attestd.Excerpt(origin, 80), err)
	}
	return &Key{name: origin, public: text, hash: verifier.KeyHash(), key: private}, nil
}

// NewEphemeralKey returns a key that is gone with the process: for development.
func NewEphemeralKey(origin string) (*Key, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make audit key: %w", err)
	}
	return newKey(key, origin)
}

// createKey writes a new key beside path and links it into place: two processes that start at once end
// with the same key, and a crash leaves no half of one.
func createKey(path string) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(crypto.PrivateKey(key))
	if err != nil {
		return err
	}
	fresh, err := os.CreateTemp(filepath.Dir(path), ".audit-key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(fresh.Name()) }()
	_, err = fresh.Write(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}))
	if err = errors.Join(err, fresh.Sync(), fresh.Close()); err != nil {
		return err
	}
	if err := os.Link(fresh.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// writeWhole puts a file in place as a whole, durably: a reader sees the old one or the new one.
func writeWhole(path string, content []byte, mode fs.FileMode) error {
	fresh, err := os.CreateTemp(filepath.Dir(path), ".audit-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(fresh.Name()) }()
	_, err = fresh.Write(content)
	if err = errors.Join(err, fresh.Chmod(mode), fresh.Sync(), fresh.Close()); err != nil {
		return err
	}
	if err := os.Rename(fresh.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	folder, err := os.Open(path) //nolint:gosec // a folder that the caller names
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
