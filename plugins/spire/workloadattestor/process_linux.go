package workloadattestor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/attestd/attestd"
)

// facts are what was found out about a process.
type facts struct {
	alive     bool
	path      string
	digest    string
	container string
	measured  bool
	// reasons say what could not be found out, for people.
	reasons []string
}

func (f *facts) lacks(format string, args ...any) {
	f.reasons = append(f.reasons, fmt.Sprintf(format, args...))
}

// errGone is a process that ended, or became another one, while it was looked at.
var errGone = errors.New("the process ended, or became another, while it was looked at")

// maxProcFile bounds what is read of a file below /proc; a control group has a path of at most 4 KiB,
// and version 1 has about a dozen of them.
const maxProcFile = 64 << 10

// inspector looks at processes. proc is /proc; tests lay out folders like it.
type inspector struct {
	proc    string
	digests *digests
	ima     *measurementList
	// between is called between two looks; tests change the process there.
	between func()
}

// look finds out what a process is. Where err is nil, all of it was true of one process, from the
// beginning to the end: the same start time, and the same executable.
//
// Errors: errGone, and what kept /proc from being read.
func (i *inspector) look(ctx context.Context, pid int32) (*facts, error) {
	found, err := i.once(ctx, pid)
	if errors.Is(err, errReplaced) {
		// Between fork and exec a process is its parent's program for a moment: once more.
		found, err = i.once(ctx, pid)
	}
	if errors.Is(err, errReplaced) {
		return nil, errGone
	}
	return found, err
}

// errReplaced is a process that began another program while it was looked at.
var errReplaced = errors.New("the process runs another program than before")

func (i *inspector) once(ctx context.Context, pid int32) (*facts, error) {
	name := i.proc + "/" + strconv.Itoa(int(pid))
	// The open folder stays that of this process: what is read through it fails once the process has
	// ended, also where its number was given to another (proc(5)).
	folder, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, goneOr(err, "open "+name)
	}
	defer unix.Close(folder)
	began, err := startOf(folder)
	if err != nil {
		return nil, err
	}
	found := &facts{alive: true}
	executable, err := unix.Openat(folder, "exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	var identity identity
	switch {
	case err == nil:
		defer unix.Close(executable)
		if identity, err = identify(executable); err != nil {
			return nil, fmt.Errorf("executable of process %d: %w", pid, err)
		}
		found.path = linkOf(folder)
	case errors.Is(err, unix.ESRCH):
		return nil, errGone
	case errors.Is(err, unix.ENOENT):
		found.lacks("the process has no executable: it is the kernel's own, or about to end")
	default:
		// Another user's process, where the agent is not root. What is left is still true of it.
		found.lacks("its executable cannot be opened: %v; the agent must run as root, or have "+
			"CAP_SYS_PTRACE, to read those of other users", err)
	}
	if err := i.container(folder, found); err != nil {
		return nil, err
	}
	if executable >= 0 {
		digest, err := i.digests.of(ctx, executable, identity, ownerOf(folder))
		if err != nil {
			found.lacks("its executable has no digest: %v", err)
		}
		found.digest = digest
		found.measured = digest != "" && i.ima.holds(digest)
	}
	if i.between != nil {
		i.between()
	}
	if err := i.again(folder, began, executable, identity); err != nil {
		return nil, err
	}
	return found, nil
}

// again makes sure that it is still the process that was looked at, and runs the same program.
func (i *inspector) again(folder int, began uint64, executable int, was identity) error {
	if executable >= 0 {
		now, err := unix.Openat(folder, "exe", unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return goneOr(err, "look at the executable again")
		}
		defer unix.Close(now)
		is, err := identify(now)
		if err != nil {
			return fmt.Errorf("look at the executable again: %w", err)
		}
		if !is.sameFile(was) {
			return errReplaced
		}
	}
	// The folder stays one process's: while this answers, nobody else has its number.
	if same, err := startOf(folder); err != nil || same != began {
		return errors.Join(errGone, err)
	}
	return nil
}

func (i *inspector) container(folder int, found *facts) error {
	text, err := readAt(folder, "cgroup")
	switch {
	case errors.Is(err, errGone):
		return err
	case err != nil:
		found.lacks("its control group cannot be read: %v", err)
		return nil
	}
	id, reason := containerOf(text)
	if found.container = id; reason != "" {
		found.lacks("%s", reason)
	}
	return nil
}

// startOf returns when a process started, in ticks since the boot: field 22 of /proc/PID/stat
// (proc_pid_stat(5)). A process that has ended and was not collected is gone.
func startOf(folder int) (uint64, error) {
	text, err := readAt(folder, "stat")
	if err != nil {
		return 0, err
	}
	return parseStart(text)
}

func parseStart(text []byte) (uint64, error) {
	// The second field is the name of the program, in brackets, in which anything may stand, brackets
	// and numbers among it: the fields are counted from the last bracket on.
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return 0, fmt.Errorf("stat of the process: got %q", attestd.Excerpt(string(text), 60))
	}
	fields := bytes.Fields(text[end+1:])
	const state, start = 0, 19 // fields 3 and 22 of proc_pid_stat(5)
	if len(fields) <= start {
		return 0, fmt.Errorf("stat of the process: got %d fields behind its name, want over %d",
			len(fields), start)
	}
	switch fields[state][0] {
	case 'Z', 'X', 'x':
		return 0, errGone
	}
	began, err := strconv.ParseUint(string(fields[start]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("stat of the process: start time: %w", err)
	}
	return began, nil
}

// readAt reads a file of a process's folder, at most maxProcFile bytes.
func readAt(folder int, name string) ([]byte, error) {
	fd, err := unix.Openat(folder, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, goneOr(err, "open "+name)
	}
	defer unix.Close(fd)
	text := make([]byte, 0, 1024)
	for {
		if len(text) == cap(text) {
			text = append(text, 0)[:len(text)]
		}
		n, err := unix.Read(fd, text[len(text):cap(text)])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, goneOr(err, "read "+name)
		case n == 0:
			return text, nil
		default:
			if text = text[:len(text)+n]; len(text) > maxProcFile {
				return nil, fmt.Errorf("%s has over %d bytes", name, maxProcFile)
			}
		}
	}
}

// goneOr tells a process that has ended from one that cannot be looked at.
func goneOr(err error, what string) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, fs.ErrNotExist) {
		return errGone
	}
	return fmt.Errorf("%s: %w", what, err)
}

// linkOf returns what the executable is called, for people: the name may be another file's by now.
func linkOf(folder int) string {
	name := make([]byte, 1024)
	n, err := unix.Readlinkat(folder, "exe", name)
	if err != nil || n <= 0 {
		return ""
	}
	return attestd.Excerpt(string(name[:n]), 300)
}

// ownerOf returns the user of a process, for whom it is counted how much was read.
func ownerOf(folder int) uint32 {
	var stat unix.Stat_t
	if err := unix.Fstat(folder, &stat); err != nil {
		return 0
	}
	return stat.Uid
}

// userOf returns the user of a process by its number, without asking anything but the kernel.
func userOf(proc string, pid int32) (uint32, error) {
	var stat unix.Stat_t
	if err := unix.Stat(proc+"/"+strconv.Itoa(int(pid)), &stat); err != nil {
		return 0, goneOr(err, "look at the process")
	}
	return stat.Uid, nil
}
