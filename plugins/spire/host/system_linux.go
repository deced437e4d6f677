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

// keepToOurselves closes the process's memory and descriptors to core dumps and to other processes of the
// same user (PR_SET_DUMPABLE, prctl(2)): what a supervisor keeps for its children is in them. It is
// undone by exec, so each child does it for itself. A kernel that refuses keeps no plugin from working.
func keepToOurselves() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// isMount reports whether a folder is where a file system was mounted.
func isMount(path string) bool {
	var stat unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE, &stat)
	return err == nil && stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}
