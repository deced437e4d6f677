package keys

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/attestd/attestd"
)

const (
	pemType   = "PRIVATE KEY"
	keySuffix = ".key"
	// maxKeyFile bounds what is read of a key's file; one of P-256 has 241 bytes.
	maxKeyFile = 4 << 10
)

// Files is a [Vault] of one file for each key in a folder: PKCS #8 in PEM, for its owner alone.
type Files struct{ folder string }

// OpenFiles returns the vault in the folder, which it makes where there is none.
//
// Errors: a [*attestd.CallerError] of class CONFIG where others can look into the folder.
func OpenFiles(folder string) (*Files, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of keys: %w", err)
	}
	info, err := os.Stat(folder)
	if err != nil {
		return nil, fmt.Errorf("folder of keys: %w", err)
	}
	if open := info.Mode().Perm() & 0o077; open != 0 {
		return nil, unfit("chmod 700 "+folder, "the folder of keys has mode %04o, want 0700",
			info.Mode().Perm())
	}
	return &Files{folder: folder}, nil
}

func unfit(hint, format string, args ...any) error {
	return &attestd.CallerError{Class: attestd.ClassConfig, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// Make implements [Vault].
func (f *Files) Make(context.Context) (Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	id, err := KeyID(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	content := pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
	if err := writeWhole(f.path(id), content); err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return inMemory{key}, nil
}

func (f *Files) path(id string) string { return filepath.Join(f.folder, id+keySuffix) }

// Open implements [Vault].
//
// Errors: a [*attestd.CallerError] of class CONFIG where the file is gone, can be read by others, or
// holds anything but the P-256 key with that id. A key that cannot be read is never replaced by itself.
func (f *Files) Open(_ context.Context, id string) (Signer, error) {
	if !isKeyID(id) {
		return nil, errors.New("open key: not an id of a key")
	}
	path := f.path(id)
	const hint = "put the file back from a backup, or move the folder away for new keys"
	info, err := os.Lstat(path)
	if err != nil {
		return nil, unfit(hint, "open key: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeyFile {
		return nil, unfit(hint, "key %s is no plain file of at most %d bytes", id, maxKeyFile)
	}
	if open := info.Mode().Perm() & 0o077; open != 0 {
		return nil, unfit("chmod 600 "+path, "key %s has mode %04o, want 0600", id, info.Mode().Perm())
	}
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, unfit(hint, "open key: %w", err)
	}
	block, rest := pem.Decode(file)
	if block == nil || block.Type != pemType || len(bytes.TrimSpace(rest)) != 0 {
		return nil, unfit(hint, "key %s is not one PEM block of type %q", id, pemType)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, unfit(hint, "key %s is not PKCS #8", id) // the cause could quote the file
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, unfit(hint, "key %s is a %T, want one on P-256", id, parsed)
	}
	if is, err := KeyID(&key.PublicKey); err != nil || is != id {
		return nil, unfit(hint, "the file of key %s holds another key", id)
	}
	return inMemory{key}, nil
}

// Destroy implements [Vault]. The bytes are overwritten first; what a file system or a disk keeps of
// them beside that is beyond reach.
func (f *Files) Destroy(_ context.Context, id string) error {
	if !isKeyID(id) {
		return errors.New("destroy key: not an id of a key")
	}
	path := f.path(id)
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		info, statErr := file.Stat()
		if err = statErr; err == nil {
			_, err = file.Write(make([]byte, min(info.Size(), maxKeyFile)))
		}
		err = errors.Join(err, file.Sync(), file.Close())
	}
	if err := errors.Join(err, os.Remove(path), syncFolder(f.folder)); err != nil {
		return fmt.Errorf("destroy key: %w", err)
	}
	return nil
}

// IDs implements [Vault].
func (f *Files) IDs(context.Context) ([]string, error) {
	entries, err := os.ReadDir(f.folder)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	var ids []string
	for _, entry := range entries {
		if id, is := strings.CutSuffix(entry.Name(), keySuffix); is && isKeyID(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// isKeyID reports whether the text has the form of [KeyID]: ids are names of files.
func isKeyID(id string) bool {
	if len(id) != 43 {
		return false
	}
	for _, letter := range []byte(id) {
		switch {
		case letter >= 'a' && letter <= 'z', letter >= 'A' && letter <= 'Z', letter >= '0' && letter <= '9',
			letter == '-', letter == '_':
		default:
			return false
		}
	}
	return true
}

// writeWhole puts a file in place as a whole, durably and for its owner alone: a reader sees the old
// one or the new one.
func writeWhole(path string, content []byte) error {
	fresh, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(fresh.Name()) }()
	_, err = fresh.Write(content)
	if err = errors.Join(err, fresh.Sync(), fresh.Close()); err != nil {
		return err
	}
	if err := os.Rename(fresh.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	folder, err := os.Open(path) //nolint:gosec // a folder that the configuration names
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
