// Package tsmtest is configfs-tsm for tests: a tree in memory that behaves as the kernel's does.
//
// What comes in: a function that makes reports. What is true: files appear with an entry and vanish
// with it, each write to inblob moves the generation, and a report is over what was written last. What
// is not shown: anything about a kernel.
package tsmtest

import (
	"bytes"
	"io/fs"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// Tree is a fake configfs-tsm that keeps one entry at a time.
type Tree struct {
	T        testing.TB
	Provider string
	// Make returns a report over data, or the error of reading it.
	Make func(data []byte) ([]byte, error)
	// Beside is the auxblob; nil where the driver has no such file.
	Beside []byte
	// Meddle is called after the report was read, as somebody else who writes into the entry would be.
	Meddle func(*Tree)
	// Deny is the error of making an entry.
	Deny error

	mu         sync.Mutex
	folder     string
	inblob     []byte
	Generation int
}

// Left returns the entry that is there; empty for none.
func (f *Tree) Left() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.folder
}

// Mkdir makes an entry.
func (f *Tree) Mkdir(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Deny != nil {
		return f.Deny
	}
	if f.folder != "" {
		f.T.Errorf("%q while %q is there", path, f.folder)
	}
	f.folder, f.inblob, f.Generation = path, nil, 0
	return nil
}

// Rmdir removes the entry.
func (f *Tree) Rmdir(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if path != f.folder {
		f.T.Errorf("removed %q, made %q", path, f.folder)
	}
	f.folder = ""
	return nil
}

// Read reads a file of the entry.
func (f *Tree) Read(path string, _ int) ([]byte, error) {
	f.mu.Lock()
	in, inside := f.inblob, filepath.Dir(path) == f.folder
	f.mu.Unlock()
	if !inside {
		return nil, fs.ErrNotExist
	}
	switch filepath.Base(path) {
	case "provider":
		return []byte(f.Provider + "\n"), nil
	case "generation":
		return []byte(strconv.Itoa(f.Generation) + "\n"), nil
	case "outblob":
		report, err := f.Make(in)
		if err == nil && f.Meddle != nil {
			f.Meddle(f)
		}
		return report, err
	case "auxblob":
		if f.Beside != nil {
			return f.Beside, nil
		}
	}
	return nil, fs.ErrNotExist
}

// Write writes the report data.
func (f *Tree) Write(path string, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if path != filepath.Join(f.folder, "inblob") || len(data) != 64 {
		f.T.Errorf("wrote %d bytes to %q", len(data), path)
	}
	f.inblob = bytes.Clone(data)
	f.Generation++
	return nil
}
