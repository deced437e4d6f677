package collateral

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/attestd/attestd"
)

// What lies in a store's folder.
const (
	lockFile      = "lock"
	fetchLockFile = "fetch.lock"
	ledgerFile    = "ledger.json"
	fetchFile     = "fetch.json"
	objectsFolder = "objects"
	machineFolder = "machines"
	wantedFolder  = "wanted"
)

// lockWait is how long a writer waits for another one. An import takes well under a second.
const lockWait = 15 * time.Second

// lock takes the store for one writer.
//
// Errors: class CONFLICT where another process has it for longer than lockWait.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	for {
		unlock, err := tryLock(filepath.Join(s.folder, lockFile))
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, &attestd.CallerError{
				Class: attestd.ClassConflict, Hint: "wait for the other attestd collateral command, then try again",
				Err: errors.New("another process writes this collateral folder"),
			}
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// tryLock takes an advisory lock, which ends with the process that holds it.
func tryLock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { //nolint:gosec // a descriptor
		_ = file.Close()
		return nil, err
	}
	return func() { _ = file.Close() }, nil
}

// checkPrivate demands a folder that no one else can write or read: what lies in it is public, but
// whoever can write there can delete the floors with it.
func checkPrivate(folder string) error {
	info, err := os.Lstat(folder)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "name a folder of its own for collateral",
			Err: fmt.Errorf("%q is not a folder", attestd.Excerpt(folder, 200)),
		}
	case !isOurs(info):
		return &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "run the command as the user that attestd runs as",
			Err: fmt.Errorf("the collateral folder %q belongs to another user", attestd.Excerpt(folder, 200)),
		}
	case info.Mode().Perm()&0o077 != 0:
		return &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "chmod 700 " + attestd.Excerpt(folder, 200),
			Err: fmt.Errorf("the collateral folder has mode %04o, want 0700", info.Mode().Perm()),
		}
	}
	return nil
}

// isOurs reports whether a file is this user's. Whoever else owns a folder can replace what is in it; and
// what root writes into an owner's folder the owner cannot read.
func isOurs(info fs.FileInfo) bool {
	owned, known := info.Sys().(*syscall.Stat_t)
	return known && int(owned.Uid) == os.Geteuid()
}

// writeWhole puts a file in place as a whole and durably: a reader sees the old one or the new one, also
// after a loss of power.
func writeWhole(path string, content []byte) error {
	folder := filepath.Dir(path)
	fresh, err := os.CreateTemp(folder, temporary+"*") // mode 0600
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
	return syncFolder(folder)
}

// temporary begins the names of files that are not in place yet.
const temporary = ".new-"

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// readFile reads a regular file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("has more than %d bytes", limit)
	}
	return content, err
}

// sweep removes files that a process left when it died while it wrote them.
func sweep(folder string) {
	left, _ := filepath.Glob(filepath.Join(folder, temporary+"*"))
	for _, path := range left {
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > time.Hour {
			_ = os.Remove(path)
		}
	}
}
