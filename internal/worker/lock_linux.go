//go:build linux && (amd64 || arm64)

package worker

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stepError says which layer could not be put up.
type stepError struct {
	step string
	err  error
}

func (e *stepError) Error() string { return e.step + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// lock takes away from the process, for ever, all that judging does not need. Seccomp is the layer
// that counts and comes last; where it cannot be had, lock fails. Landlock is one more layer where
// the kernel has it.
func lock(memory uint64) (Lock, error) {
	// The rights below belong to threads: seccomp copies filter and no_new_privs from the calling
	// thread to all others, if it is still the same thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	if err := limit(memory); err != nil {
		return Lock{}, err
	}
	// Not dumpable: no core with evidence in it, and no ptrace by processes of the same user.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return Lock{}, &stepError{"not dumpable", err}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return Lock{}, &stepError{"no new privileges", err}
	}
	// With cgo, libc starts threads of its own that AllThreadsSyscall cannot reach, by calls that the
	// filter does not allow.
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0); errno == unix.ENOTSUP {
		return Lock{}, &stepError{"threads", errors.New("attestd was built with cgo; build it with CGO_ENABLED=0")}
	}
	landlock, err := landlockAll()
	if err != nil {
		return Lock{}, &stepError{"landlock", err}
	}
	if err := dropCapabilities(); err != nil {
		return Lock{}, &stepError{"capabilities", err}
	}
	if err := install(filterProgram(uint32(os.Getpid()))); err != nil { //nolint:gosec // a process id
		return Lock{}, &stepError{"seccomp", err}
	}
	return Lock{Seccomp: true, Landlock: landlock}, nil
}

// limit bounds what a worker can use up. Memory counts writable private pages that were mapped; Go
// maps its heap in steps of 64 MiB. The address space is not limited: Go reserves much more than it
// uses.
func limit(memory uint64) error {
	for _, one := range []struct {
		name     string
		resource int
		value    uint64
	}{
		{"core", unix.RLIMIT_CORE, 0},
		{"file size", unix.RLIMIT_FSIZE, 0},
		{"open files", unix.RLIMIT_NOFILE, openFiles},
		{"memory", unix.RLIMIT_DATA, memory},
	} {
		rlimit := unix.Rlimit{Cur: one.value, Max: one.value}
		if err := unix.Setrlimit(one.resource, &rlimit); err != nil {
			return &stepError{"limit of " + one.name, err}
		}
	}
	return nil
}

// Landlock access rights by ABI (landlock(7)). A right the kernel does not know makes it refuse the
// whole set.
func landlockRights(abi int) unix.LandlockRulesetAttr {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1}
	if abi >= 2 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= 5 {
		attr.Handled_access_fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	return attr
}

// landlockAll denies every file and TCP right that the kernel's Landlock knows, on all threads. It
// returns the kernel's ABI, and 0 where there is no Landlock.
func landlockAll() (abi int, err error) {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0,
		unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch {
	case errno == unix.ENOSYS, errno == unix.EOPNOTSUPP, errno == unix.EPERM:
		return 0, nil // no Landlock, switched off at boot, or a service manager's filter forbids it
	case errno != 0:
		return 0, errno
	}
	abi = int(version)
	attr := landlockRights(abi)
	// The three fields of ABI 1 to 6; an older kernel accepts a longer struct if the rest is zero.
	size := unsafe.Offsetof(attr.Quiet_access_fs)
	ruleset, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET,
		uintptr(unsafe.Pointer(&attr)), size, 0) //nolint:gosec // a struct for the kernel
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(int(ruleset))
	// no_new_privs is per thread, and Landlock wants it on each.
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); errno != 0 {
		return 0, errno
	}
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0, 0); errno != 0 {
		return 0, errno
	}
	return abi, nil
}

// dropCapabilities leaves no capability on any thread: a worker that was started as root is root by
// name alone.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0) //nolint:gosec // structs for the kernel
	if errno != 0 {
		return errno
	}
	return nil
}

// install puts the filter on all threads at once, or on none.
func install(program []unix.SockFilter) error {
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog))) //nolint:gosec // a struct for the kernel
	if errno != 0 {
		return errno
	}
	if thread != 0 {
		return fmt.Errorf("thread %d could not be put under the filter", thread)
	}
	return nil
}

// closeOthers closes every file above last but the poller of the Go runtime: what attestd's own
// parent left open (a socket, a key file), which an exec hands on, and the CPU limits that the
// runtime opened and reads no more once GOMAXPROCS was set.
func closeOthers(last int) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd <= last {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if errors.Is(err, unix.EBADF) {
			continue // the folder itself
		}
		if err != nil {
			return err
		}
		target, err := os.Readlink("/proc/self/fd/" + entry.Name())
		if err != nil {
			return err
		}
		ours := flags&unix.FD_CLOEXEC != 0 // opened since the exec
		if ours && (target == "anon_inode:[eventpoll]" || target == "anon_inode:[eventfd]") {
			continue
		}
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
	return nil
}
