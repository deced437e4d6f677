// Package ioctl asks device files by ioctl(2).
//
// What comes in: the path of a device file. What is true if Open returns no error: the file is open
// for reading and writing, and calls go to it. What is not shown: that it is the device that its name
// says, or anything about its answers.
package ioctl

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Control is ioctl(2) on an open device. The argument must point to what the command's structure is,
// and stay alive until the call returns.
type Control func(command uint, argument unsafe.Pointer) error

// Open opens the device file. Its second result closes it; nothing is buffered, so closing has no
// news.
//
// Errors: those of [os.OpenFile].
func Open(path string) (Control, func(), error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	call := func(command uint, argument unsafe.Pointer) error {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, file.Fd(), uintptr(command), uintptr(argument))
		if errno != 0 {
			return errno
		}
		return nil
	}
	return call, func() { _ = file.Close() }, nil
}
