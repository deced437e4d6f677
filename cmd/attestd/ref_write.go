package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
)

// edited is a file of reference values while it is changed: read once, written as a whole or not at
// all, and by one at a time.
type edited struct {
	path   string // with links followed: what is replaced is the file, not a link to it
	folder *os.File
	before []byte
	mode   os.FileMode
}

// edit reads a file to change it, and keeps others that do so waiting until it is closed.
func (a *app) edit(path string) (*edited, error) {
	if path == "-" {
		return nil, usagef("name the file", "standard input cannot be changed in its place")
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fileError("reference values", path, err)
	}
	folder, err := os.Open(filepath.Dir(real))
	if err != nil {
		return nil, fileError("reference values", path, err)
	}
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil { //nolint:gosec // a descriptor fits
		return nil, errors.Join(fileError("the folder, to lock it, of", path, err), folder.Close())
	}
	e := &edited{path: real, folder: folder}
	info, err := os.Stat(real)
	if err == nil {
		e.mode = info.Mode().Perm()
		e.before, err = a.read("reference values", real, measurements.MaxDocument)
	}
	if err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	return e, nil
}

func (e *edited) close() { _ = e.folder.Close() }

// replace puts the new content in place as a whole, durably: a reader sees the old file or the new
// one. An editor that changed it meanwhile, which asks for no lock, loses nothing.
func (e *edited) replace(content []byte) error {
	now, err := os.ReadFile(e.path)
	if err != nil {
		return fileError("reference values", e.path, err)
	}
	if !bytes.Equal(now, e.before) {
		return usagef("look at it, and run the command again", "%q was changed by somebody else meanwhile",
			attestd.Excerpt(e.path, 200))
	}
	fresh, err := os.CreateTemp(filepath.Dir(e.path), ".attestd-ref-*")
	if err != nil {
		return fileError("reference values", e.path, err)
	}
	defer func() { _ = os.Remove(fresh.Name()) }()
	_, err = fresh.Write(content)
	if err = errors.Join(err, fresh.Chmod(e.mode), fresh.Sync(), fresh.Close()); err == nil {
		err = os.Rename(fresh.Name(), e.path)
	}
	if err == nil {
		err = e.folder.Sync()
	}
	if err != nil {
		return fileError("reference values", e.path, err)
	}
	return nil
}

// signer reads a private key for reference values. Others than its owner must not be able to.
func (a *app) signer(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fileError("key", path, err)
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return "", usagef("chmod 600 "+attestd.Excerpt(path, 200), "key %q has mode %04o, want 0600",
			attestd.Excerpt(path, 200), info.Mode().Perm())
	}
	key, err := a.read("key", path, measurements.MaxKeyFile)
	return string(key), err
}

// signedAgain signs a changed document. One that was signed is not written without a signature: who
// loads it would refuse it.
func (a *app) signedAgain(path string, before, changed []byte, key string) ([]byte, error) {
	if key == "" {
		if measurements.IsSigned(before) {
			return nil, usagef("add --key FILE with the private key",
				"%q is signed, and its signature does not fit what changes", attestd.Excerpt(path, 200))
		}
		return changed, nil
	}
	private, err := a.signer(key)
	if err != nil {
		return nil, err
	}
	return measurements.Sign(path, changed, private, nil)
}
