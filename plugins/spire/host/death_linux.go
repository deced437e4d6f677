package host

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithUs has the kernel kill the child when the supervisor ends, by whatever.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// memory is a file without a name and without a disk.
func memory() (*os.File, error) {
	descriptor, err := unix.MemfdCreate("attestd-spire-keep", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(descriptor), "keep"), nil
}
