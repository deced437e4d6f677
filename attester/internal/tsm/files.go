package tsm

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Files is what configfs-tsm needs of a file system. The kernel makes the files inside a new folder,
// and a folder is removed with them in it.
type Files interface {
	Mkdir(path string) error
	Rmdir(path string) error
	// Read returns the whole file, which may have most bytes.
	Read(path string, most int) ([]byte, error)
	// Write writes in one piece: the kernel takes each write for a whole value.
	Write(path string, data []byte) error
}

type kernelFiles struct{}

func (kernelFiles) Mkdir(path string) error { return os.Mkdir(path, 0o700) }
func (kernelFiles) Rmdir(path string) error { return os.Remove(path) }

func (kernelFiles) Read(path string, most int) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // was only read
	data, err := io.ReadAll(io.LimitReader(file, int64(most)+1))
	if err == nil && len(data) > most {
		err = fmt.Errorf("%s has more than %d bytes", file.Name(), most)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

func (kernelFiles) Write(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}
