package ioctl_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/attestd/attestd/attester/internal/ioctl"
)

func TestWhatTheKernelRefusesIsAnError(t *testing.T) {
	if _, _, err := ioctl.Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a device that is not there: %v", err)
	}
	call, done, err := ioctl.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	var argument [64]byte
	if err := call(0xc0200a00, unsafe.Pointer(&argument)); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("a command that the device does not know: %v, want ENOTTY", err)
	}
	done()
	if err := call(0xc0200a00, unsafe.Pointer(&argument)); !errors.Is(err, unix.EBADF) {
		t.Errorf("after closing: %v, want EBADF", err)
	}
}
