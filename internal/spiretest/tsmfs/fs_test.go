package tsmfs_test

import (
	"bytes"
	"crypto/sha512"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/attestd/attestd/internal/spiretest/tsmfs"
)

func TestItBehavesAsTheKernelsDoes(t *testing.T) {
	fs, err := tsmfs.Mount(t.TempDir(), tsmfs.Reports{
		Provider: "tdx_guest", Make: func(data []byte) ([]byte, error) {
			if data[0] == 0xff {
				return nil, errors.New("the host says no")
			}
			digest := sha512.Sum512(data)
			return bytes.Repeat(digest[:], 200), nil // more than a page
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
	}()
	entry := filepath.Join(fs.Folder(), "one")
	if err := os.Mkdir(entry, 0o700); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(entry, name))
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	ask := func(data []byte) {
		t.Helper()
		file, err := os.OpenFile(filepath.Join(entry, "inblob"), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = file.Write(data)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.ReadFile(filepath.Join(entry, "outblob")); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("before anything was asked: %v", err)
	}
	data := bytes.Repeat([]byte{7}, 64)
	ask(data)
	digest := sha512.Sum512(data)
	if read("provider") != "tdx_guest\n" || read("generation") != "1\n" ||
		read("outblob") != string(bytes.Repeat(digest[:], 200)) {
		t.Error("it says something else")
	}
	if _, err := os.ReadFile(filepath.Join(entry, "auxblob")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("auxblob: %v", err)
	}
	ask(bytes.Repeat([]byte{0xff}, 64))
	if _, err := os.ReadFile(filepath.Join(entry, "outblob")); !errors.Is(err, syscall.EIO) {
		t.Errorf("where the host says no: %v", err)
	}
	if err := os.Remove(entry); err != nil || fs.Left() != 0 {
		t.Errorf("%v, %d left", err, fs.Left())
	}
}
