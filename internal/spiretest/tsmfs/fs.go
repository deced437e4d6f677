package tsmfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// Reports makes reports as a driver does.
type Reports struct {
	// Provider is the driver's name.
	Provider string
	// Make returns a report over data, or why there is none; its error reaches the reader as EIO.
	Make func(data []byte) ([]byte, error)
	// Beside is the auxblob; a driver without one has no such file.
	Beside []byte
}

// FS is a mounted file system.
type FS struct {
	folder  string
	device  int
	reports Reports
	ended   chan struct{}

	mu      sync.Mutex
	entries map[uint64]*entry
	next    uint64
	made    int
}

// entry is a folder for reports.
type entry struct {
	name       string
	inblob     []byte
	report     []byte // over inblob; nil until it is asked for
	generation int
}

// The files of an entry; a file's node is its entry's with the place in this list added.
var files = []string{"", "inblob", "outblob", "provider", "generation", "auxblob"}

const (
	inblob = iota + 1
	outblob
	provider
	generation
	auxblob
	perEntry = 8
	root     = 1
)

// Mount mounts the file system at a folder.
func Mount(folder string, reports Reports) (*FS, error) {
	device, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/fuse: %w", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d", device, os.Getuid(), os.Getgid())
	if err := syscall.Mount("tsm", folder, "fuse", syscall.MS_NOSUID|syscall.MS_NODEV, options); err != nil {
		return nil, errors.Join(fmt.Errorf("mount: %w", err), syscall.Close(device))
	}
	fs := &FS{
		folder: folder, device: device, reports: reports, ended: make(chan struct{}),
		entries: map[uint64]*entry{}, next: perEntry,
	}
	go fs.serve()
	return fs, nil
}

// Folder is where it is mounted.
func (f *FS) Folder() string { return f.folder }

// Made is how many reports were made.
func (f *FS) Made() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.made
}

// Left is how many entries there are now.
func (f *FS) Left() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.entries)
}

// Close unmounts it.
func (f *FS) Close() error {
	err := syscall.Unmount(f.folder, syscall.MNT_DETACH)
	<-f.ended
	return errors.Join(err, syscall.Close(f.device))
}

// content returns a file of an entry, by its node.
func (f *FS) content(node uint64) ([]byte, syscall.Errno) {
	f.mu.Lock()
	one := f.entries[node/perEntry*perEntry]
	f.mu.Unlock()
	if one == nil {
		return nil, syscall.ENOENT
	}
	switch node % perEntry {
	case provider:
		return []byte(f.reports.Provider + "\n"), 0
	case generation:
		return []byte(strconv.Itoa(one.generation) + "\n"), 0
	case auxblob:
		return f.reports.Beside, 0
	case outblob:
		return f.report(one)
	}
	return nil, syscall.EACCES
}

// report returns the report over what was written last. It is made once: it may be read in pieces.
func (f *FS) report(of *entry) ([]byte, syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case of.inblob == nil:
		return nil, syscall.EINVAL
	case of.report != nil:
		return of.report, 0
	}
	report, err := f.reports.Make(bytes.Clone(of.inblob))
	if err != nil {
		return nil, syscall.EIO
	}
	f.made++
	of.report = report
	return report, 0
}

// find returns the node of a name in a folder.
func (f *FS) find(parent uint64, name string) (uint64, syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if parent == root {
		for node, one := range f.entries {
			if one.name == name {
				return node, 0
			}
		}
		return 0, syscall.ENOENT
	}
	if f.entries[parent] != nil {
		for at, file := range files {
			if at > 0 && file == name && (at != auxblob || f.reports.Beside != nil) {
				return parent + uint64(at), 0
			}
		}
	}
	return 0, syscall.ENOENT
}

func (f *FS) mkdir(parent uint64, name string) (uint64, syscall.Errno) {
	if parent != root {
		return 0, syscall.EPERM
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next += perEntry
	f.entries[f.next] = &entry{name: name}
	return f.next, 0
}

func (f *FS) rmdir(parent uint64, name string) syscall.Errno {
	node, code := f.find(parent, name)
	if code != 0 || node%perEntry != 0 {
		return syscall.ENOTDIR
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.entries, node)
	return 0
}

func (f *FS) write(node uint64, data []byte) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	one := f.entries[node/perEntry*perEntry]
	if one == nil || node%perEntry != inblob || len(data) > 64 {
		return syscall.EINVAL
	}
	one.inblob, one.report = bytes.Clone(data), nil
	one.generation++
	return 0
}

// attributes is struct fuse_attr of a node.
func attributes(node uint64) []byte {
	out := make([]byte, 88)
	binary.NativeEndian.PutUint64(out, node)
	mode := uint32(syscall.S_IFREG | 0o600)
	if node == root || node%perEntry == 0 {
		mode = syscall.S_IFDIR | 0o700
	}
	binary.NativeEndian.PutUint32(out[60:], mode)
	binary.NativeEndian.PutUint32(out[64:], 1)
	binary.NativeEndian.PutUint32(out[68:], uint32(os.Getuid())) //nolint:gosec // never negative here
	binary.NativeEndian.PutUint32(out[72:], uint32(os.Getgid())) //nolint:gosec // never negative here
	binary.NativeEndian.PutUint32(out[80:], 4096)
	return out
}
