package cedarset

import (
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// memory is a folder that lies in memory: names with their contents.
type memory map[string][]byte

// Files returns the files of the set, which [Load] reads back to the same digest.
func (s *Set) Files() fs.FS { return memory(s.files) }

// Open implements [fs.FS].
func (m memory) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if document, found := m[name]; found {
		return &file{info: info{path.Base(name), int64(len(document)), false}, Reader: strings.NewReader(string(document))}, nil
	}
	below := m.below(name)
	if len(below) == 0 && name != "." {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{info: info{path.Base(name), 0, true}, Reader: strings.NewReader(""), below: below}, nil
}

// below lists what lies in a folder, by name.
func (m memory) below(name string) (out []fs.DirEntry) {
	prefix := name + "/"
	if name == "." {
		prefix = ""
	}
	seen := map[string]info{}
	for one, document := range m {
		rest, inside := strings.CutPrefix(one, prefix)
		if !inside {
			continue
		}
		first, _, folder := strings.Cut(rest, "/")
		if folder {
			seen[first] = info{first, 0, true}
		} else {
			seen[first] = info{first, int64(len(document)), false}
		}
	}
	for _, one := range seen {
		out = append(out, fs.FileInfoToDirEntry(one))
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out
}

type info struct {
	name   string
	size   int64
	folder bool
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.folder }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.folder {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

type file struct {
	info info
	io.Reader
	below []fs.DirEntry
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

// ReadDir implements [fs.ReadDirFile].
func (f *file) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		out := f.below
		f.below = nil
		return out, nil
	}
	if len(f.below) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(f.below))
	out := f.below[:n]
	f.below = f.below[n:]
	return out, nil
}
