package snp

import (
	"unsafe"

	"github.com/attestd/attestd/attester/internal/tsm"
)

// OverFiles returns a guest whose configfs-tsm is a fake one.
func OverFiles(root string, files tsm.Files) *Guest {
	return &Guest{configFS{tsm.At(root, files)}}
}

// OverDevice returns a guest whose /dev/sev-guest is a fake one.
func OverDevice(call func(command uint, argument unsafe.Pointer) error) *Guest {
	return &Guest{&device{fake: call}}
}
