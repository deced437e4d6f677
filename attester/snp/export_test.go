package snp

import "unsafe"

// Files is the file system that configfs-tsm is asked through.
type Files interface {
	Mkdir(path string) error
	Rmdir(path string) error
	Read(path string) ([]byte, error)
	Write(path string, data []byte) error
}

type fakeFiles struct{ Files }

func (f fakeFiles) mkdir(path string) error              { return f.Mkdir(path) }
func (f fakeFiles) rmdir(path string) error              { return f.Rmdir(path) }
func (f fakeFiles) read(path string) ([]byte, error)     { return f.Read(path) }
func (f fakeFiles) write(path string, data []byte) error { return f.Write(path, data) }

// OverFiles returns a guest whose configfs-tsm is a fake one.
func OverFiles(root string, files Files) *Guest {
	return &Guest{&configFS{root: root, files: fakeFiles{files}}}
}

// OverDevice returns a guest whose /dev/sev-guest is a fake one.
func OverDevice(call func(command uint, argument unsafe.Pointer) error) *Guest {
	return &Guest{&device{fake: call}}
}
