package journal

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
)

// mostPolicyBytes bounds the files of one policy set.
const mostPolicyBytes = 1 << 30

// policies keeps the files of policy sets by their digest, so that what was decided by them can be
// decided again.
type policies struct {
	folder string
	now    func() time.Time
	// inForce is the digest that was kept last.
	inForce atomic.Pointer[string]
}

// KeepPolicies stores the files of a policy set. Call it before the first decision by them. A set that is
// there already is left as it is, and marked as used.
//
// Errors: a digest that is none, files of more than 1 GiB, a disk that fails.
func (j *Journal) KeepPolicies(digest string, files fs.FS) (err error) {
	folder, err := policiesAt(j.policies.folder, digest)
	if err != nil {
		return err
	}
	now := j.policies.now()
	defer func() {
		if err == nil {
			j.policies.inForce.Store(&digest)
		}
	}()
	if err := os.Chtimes(folder, now, now); err == nil {
		return nil
	}
	parent := filepath.Dir(folder)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	made, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(made) }()
	if err := copyFiles(made, files); err != nil {
		return err
	}
	if err := os.Chtimes(made, now, now); err != nil {
		return err
	}
	err = os.Rename(made, folder)
	if errors.Is(err, fs.ErrExist) {
		return nil // somebody else was first, with the same
	}
	return errors.Join(err, syncFolder(parent))
}

// used notes that a record names a digest.
func (p *policies) used(digest string) {
	if folder, err := policiesAt(p.folder, digest); err == nil {
		now := p.now()
		_ = os.Chtimes(folder, now, now) // without its files a replay says that they are not here
	}
}

// prune deletes the policy sets that no record can name any more: they are not in force, and were used
// last before the oldest record.
func (p *policies) prune(oldest time.Time) {
	inForce := ""
	if digest := p.inForce.Load(); digest != nil {
		inForce = strings.TrimPrefix(*digest, "sha256:")
	}
	entries, err := os.ReadDir(filepath.Join(p.folder, policyFolder))
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && entry.Name() != inForce && info.ModTime().Before(oldest.Add(-slack)) {
			_ = os.RemoveAll(filepath.Join(p.folder, policyFolder, entry.Name()))
		}
	}
}

// copyFiles copies all files below a folder, each on disk when it returns.
func copyFiles(folder string, files fs.FS) error {
	left := int64(mostPolicyBytes)
	return fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(folder, filepath.FromSlash(path))
		if entry.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		content, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		if left -= int64(len(content)); left < 0 {
			return fmt.Errorf("the policies have more than %d bytes", int64(mostPolicyBytes))
		}
		file, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = file.Write(content)
		return errors.Join(err, file.Sync(), file.Close())
	})
}

// policiesAt returns the folder of a policy set below that of a journal.
func policiesAt(folder, digest string) (string, error) {
	digits, ok := strings.CutPrefix(digest, "sha256:")
	sum, err := hex.DecodeString(digits)
	if !ok || err != nil || len(sum) != 32 || hex.EncodeToString(sum) != digits {
		return "", &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "a digest is sha256: and 64 hexadecimal digits in small letters",
			Err: fmt.Errorf("%q is no digest of policies", attestd.Excerpt(digest, 80)),
		}
	}
	return filepath.Join(folder, policyFolder, digits), nil
}
