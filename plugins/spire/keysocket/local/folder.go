package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/attestd/attestd"
)

// Folder is an open folder of this user's. What is done in it goes by its descriptor: whoever moves
// folders about afterwards does not move what was checked.
type Folder struct {
	path  string
	file  *os.File
	owner uint32
}

// Open opens a folder that is there and belongs to this user.
//
// Errors: a [*attestd.CallerError] of class CONFIG that names what is wrong with the folder.
func Open(path string) (*Folder, error) { return open(path, false) }

// Visit is Open for who only connects to a socket in it: root may visit everybody's.
func Visit(path string) (*Folder, error) { return open(path, os.Geteuid() == 0) }

func open(path string, any bool) (*Folder, error) {
	if !filepath.IsAbs(path) {
		return nil, refuse("give the whole path, as in /run/attestd-spire",
			fmt.Errorf("%q is not the whole path of a folder", attestd.Excerpt(path, 200)))
	}
	// Clean drops a slash at the end, with which the kernel would follow a link.
	path = filepath.Clean(path)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return nil, refuse("name the folder itself: a link may lead elsewhere tomorrow",
			fmt.Errorf("%q is no folder, or a symbolic link", attestd.Excerpt(path, 200)))
	case err != nil:
		return nil, refuse("make it: install -d -m 0700 -o USER "+attestd.Excerpt(path, 200),
			fmt.Errorf("folder %q: %w", attestd.Excerpt(path, 200), err))
	}
	f := &Folder{path: path, file: os.NewFile(uintptr(fd), path)}
	if err := f.check(any); err != nil {
		_ = f.file.Close()
		return nil, err
	}
	return f, nil
}

// Make opens a folder and makes it, with mode 0700, where it is not there. The one above must be.
func Make(path string) (*Folder, error) {
	if filepath.IsAbs(path) {
		if err := os.Mkdir(filepath.Clean(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, refuse("make the folder above it, or name another",
				fmt.Errorf("make a folder: %w", err))
		}
	}
	return Open(path)
}

// check looks at the descriptor, not at the path.
func (f *Folder) check(any bool) error {
	name := attestd.Excerpt(f.path, 200)
	self := uint32(os.Geteuid()) //nolint:gosec // user ids have 32 bits
	var stat, above unix.Stat_t
	if err := unix.Fstat(int(f.file.Fd()), &stat); err != nil {
		return fmt.Errorf("folder %q: %w", name, err)
	}
	if f.owner = stat.Uid; stat.Uid != self && !any {
		return refuse("run as the user that the folder belongs to, or chown it", fmt.Errorf(
			"folder %q belongs to user %d, want %d", name, stat.Uid, self))
	}
	if mode := stat.Mode & 0o7777; mode&0o077 != 0 {
		return refuse("chmod 700 "+name, fmt.Errorf("folder %q has mode %04o, want 0700", name, mode))
	}
	// Who can write to the folder above can put another folder in this one's place, unless it is
	// one in which everybody may move only what is theirs (sticky, as /tmp).
	if err := unix.Fstatat(int(f.file.Fd()), "..", &above, 0); err != nil {
		return fmt.Errorf("folder above %q: %w", name, err)
	}
	switch mode := above.Mode & 0o7777; {
	case mode&0o022 != 0 && mode&unix.S_ISVTX == 0:
		return refuse("chmod go-w the folder above, or name another place", fmt.Errorf(
			"the folder above %q has mode %04o: others can put another folder in its place",
			name, mode))
	case above.Uid != 0 && above.Uid != stat.Uid:
		return refuse("name a folder below one of root's or of the same user's", fmt.Errorf(
			"the folder above %q belongs to user %d", name, above.Uid))
	}
	return nil
}

// Owner returns the user that the folder belongs to.
func (f *Folder) Owner() uint32 { return f.owner }

// Path returns the path that the folder was opened by.
func (f *Folder) Path() string { return f.path }

// Close gives the descriptor back.
func (f *Folder) Close() error { return f.file.Close() }

// at returns a path of name that leads through the descriptor; it is short, too: a socket's may
// have 107 bytes (unix(7)).
func (f *Folder) at(name string) string {
	return "/proc/self/fd/" + strconv.FormatUint(uint64(f.file.Fd()), 10) + "/" + name
}

// ReadFile returns the content of a file, at most limit bytes; nil where there is none.
func (f *Folder) ReadFile(name string, limit int) ([]byte, error) {
	file, err := os.OpenFile(f.at(name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, f.problem(name, err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, f.problem(name, errors.Join(errors.New("is no file"), err))
	}
	content, err := io.ReadAll(io.LimitReader(file, int64(limit)+1))
	if err == nil && len(content) > limit {
		err = fmt.Errorf("has more than %d bytes", limit)
	}
	if err != nil {
		return nil, f.problem(name, err)
	}
	return content, nil
}

// WriteFile puts a whole file into place, so that a crash leaves the old one or the new one.
func (f *Folder) WriteFile(name string, content []byte) error {
	file, err := os.CreateTemp(f.at("."), "."+name+"-*") // mode 0600
	if err != nil {
		return f.problem(name, err)
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), f.at(name))
	}
	if err != nil {
		return f.problem(name, err)
	}
	return nil
}

func (f *Folder) problem(name string, err error) error {
	return refuse("make room in "+attestd.Excerpt(f.path, 200)+", writable for its user alone",
		fmt.Errorf("%s in %q: %w", name, attestd.Excerpt(f.path, 200), err))
}

func refuse(hint string, err error) error {
	return &attestd.CallerError{Class: attestd.ClassConfig, Hint: hint, Err: err}
}
