package operator

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/attestd/attestd"
)

// TokenFile is the name of the bootstrap token's file within the state directory.
const TokenFile = "admin.token"

// secretBytes is the entropy of every secret made here.
const secretBytes = 32

// encoding is that of secrets: letters that a bearer token can have (RFC 6750 section 2.1).
var encoding = base64.RawURLEncoding.Strict()

// LoginToken is handed in once for a certificate. It names the CA as well, so that whoever logs in
// knows the server before the secret is sent.
type LoginToken struct {
	Name   string
	secret [secretBytes]byte
	// Pin is the SHA-256 of the CA's certificate in DER.
	Pin [32]byte
}

// loginPrefix begins every login token; scanners for leaked secrets find it.
const loginPrefix = "attestd-login"

// String returns the token as it is handed over: the one place where the secret is written out.
func (t LoginToken) String() string {
	return strings.Join([]string{
		loginPrefix, t.Name, encoding.EncodeToString(t.secret[:]), encoding.EncodeToString(t.Pin[:]),
	}, "~")
}

func (t LoginToken) hash() [32]byte { return sha256.Sum256(t.secret[:]) }

// ParseLoginToken reads a login token in its one form.
//
// Errors: one that does not quote the token.
func ParseLoginToken(text string) (LoginToken, error) {
	bad := errors.New("not a login token")
	parts := strings.Split(text, "~")
	if len(text) > 300 || len(parts) != 4 || parts[0] != loginPrefix || !nameForm.MatchString(parts[1]) {
		return LoginToken{}, bad
	}
	token := LoginToken{Name: parts[1]}
	for index, into := range [][]byte{token.secret[:], token.Pin[:]} {
		decoded, err := encoding.DecodeString(parts[2+index])
		if err != nil || len(decoded) != len(into) {
			return LoginToken{}, bad
		}
		copy(into, decoded)
	}
	return token, nil
}

func newLoginToken(random io.Reader, name string, pin [32]byte) (LoginToken, error) {
	token := LoginToken{Name: name, Pin: pin}
	if _, err := io.ReadFull(random, token.secret[:]); err != nil {
		return LoginToken{}, fmt.Errorf("make login token: %w", err)
	}
	return token, nil
}

// OpenToken makes the bootstrap token's file where there is none, and looks at its mode.
//
// Errors: a [*attestd.CallerError] of class CONFIG where others can read it.
func OpenToken(path string, random io.Reader) error {
	secret := make([]byte, secretBytes)
	if _, err := io.ReadFull(random, secret); err != nil {
		return fmt.Errorf("make bootstrap token: %w", err)
	}
	if err := createFile(path, []byte(encoding.EncodeToString(secret)+"\n")); err != nil {
		return fmt.Errorf("make bootstrap token: %w", err)
	}
	_, err := readToken(path)
	return err
}

// readToken reads the file anew each time, so that its removal ends the token at the next request.
func readToken(path string) (string, error) {
	content, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", unknown("there is no bootstrap token any more")
	}
	if err != nil {
		return "", err
	}
	text := strings.TrimSuffix(string(content), "\n")
	if decoded, err := encoding.DecodeString(text); err != nil || len(decoded) != secretBytes {
		return "", &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "remove the file; a restart makes a new one",
			Err: fmt.Errorf("%s does not hold a token", filepath.Base(path)),
		}
	}
	return text, nil
}

// maxPrivate bounds a file of a key or token.
const maxPrivate = 16 << 10

// readPrivate reads a file that is nobody's but its owner's: a regular file, no link, mode 0600 or
// less, owned by this process's user.
func readPrivate(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat() // of what was opened, not of what has the name by now
	if err != nil {
		return nil, err
	}
	status, ok := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 || !ok || int(status.Uid) != os.Geteuid() {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "chmod 600 it, and let it belong to attestd's user",
			Err: fmt.Errorf("%s has mode %04o, want a regular file of mode 0600 that is attestd's own",
				filepath.Base(path), info.Mode().Perm()),
		}
	}
	content, err := io.ReadAll(io.LimitReader(file, maxPrivate+1))
	if err == nil && len(content) > maxPrivate {
		err = fmt.Errorf("%s is longer than %d bytes", filepath.Base(path), maxPrivate)
	}
	return content, err
}

// createFile writes content beside path and links it into place with mode 0600: two processes that
// start at once end with the same file, and a crash leaves no half of one. A file that is there stays.
func createFile(path string, content []byte) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	fresh, err := os.CreateTemp(filepath.Dir(path), ".fresh-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(fresh.Name()) }()
	_, err = fresh.Write(content)
	if err = errors.Join(err, fresh.Sync(), fresh.Close()); err != nil {
		return err
	}
	if err := os.Link(fresh.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
