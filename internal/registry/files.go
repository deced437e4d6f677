package registry

import (
	"errors"
	"fmt"
	"os"

	"github.com/attestd/attestd"
)

// createDatabase makes the file before SQLite does, so that the nonces in it are never readable by
// others.
//
// Errors: where a file that is there is open to others. Who can write to it gives used nonces back.
func createDatabase(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	var info os.FileInfo
	if err == nil {
		info, err = file.Stat()
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if open := info.Mode().Perm() & 0o077; open != 0 {
		return &attestd.CallerError{
			Class: attestd.ClassConfig,
			Hint:  "chmod 600 " + path,
			Err:   fmt.Errorf("the store's file has mode %04o, want 0600", info.Mode().Perm()),
		}
	}
	return nil
}

// files are the files of an open database as they were when it was opened. A file that is removed or
// replaced stays open here and takes writes that are gone with the process: a used nonce would then
// be used for as long only.
type files map[string]os.FileInfo

// filesOf notes the files. One that is not there is noted as that, and is never the same as another.
func filesOf(path string) files {
	open := files{}
	for _, name := range []string{path, path + "-wal"} {
		open[name], _ = os.Stat(name)
	}
	return open
}

// demandSame returns an error where the paths no longer name the files that are open.
func (f files) demandSame() error {
	for name, open := range f {
		found, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("the file of the open database is gone: %w", err)
		}
		if !os.SameFile(open, found) {
			return fmt.Errorf("another file took the place of %s, which is open", name)
		}
	}
	return nil
}
