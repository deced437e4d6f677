package tpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxResponse is the largest response that is read, in bytes; TPMs say 4,096 at most.
	maxResponse = 16 << 10
	headerSize  = 10
	// settle is how long a command that was sent may go on after the context is over. A TPM cannot be
	// told to stop, and what it loaded meanwhile would stay loaded.
	settle = 3 * time.Second
	// glance is how often a wait looks whether the context is over.
	glance = 50 * time.Millisecond
)

// errUnanswered: a command was sent and its response was not waited for.
var errUnanswered = errors.New("the TPM did not answer in time")

// wire carries commands to a TPM and responses back. It waits with poll(2) and reads once there is
// something: a device file that is read too early answers 0 bytes, which looks like its end.
type wire struct {
	fd int
	// managed says that the kernel's resource manager is in between, which frees what a connection
	// loaded when the connection ends.
	managed bool
}

// dial opens the device file or the socket. Both may be busy for a while.
func dial(ctx context.Context, place place) (*wire, error) {
	for {
		fd, err := openOnce(place)
		switch {
		case err == nil:
			return &wire{fd: fd, managed: strings.Contains(place.path, "/tpmrm") && !place.socket}, nil
		case !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
			return nil, place.opened(err)
		}
		if err := pause(ctx, glance); err != nil {
			return nil, refuse("wait until the other program is done with it, or end that program",
				fmt.Errorf("the TPM at %q is busy: %w", place.path, err))
		}
	}
}

func openOnce(place place) (int, error) {
	if !place.socket {
		// Without blocking: a command is then carried out while we wait with poll(2), which ends in time.
		return unix.Open(place.path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(fd)
	if err = unix.SetNonblock(fd, true); err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: place.path})
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func pause(ctx context.Context, length time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(length):
		return nil
	}
}

func (w *wire) close() { _ = unix.Close(w.fd) }

// exchange sends one command and returns its response.
//
// Errors: after any, the wire is out of step and must be closed.
func (w *wire) exchange(ctx context.Context, command []byte) ([]byte, error) {
	for rest := command; len(rest) > 0; {
		n, err := unix.Write(w.fd, rest)
		switch {
		case err == nil:
			rest = rest[n:]
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			if err := w.await(ctx, unix.POLLOUT); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("write to the TPM: %w", err)
		}
	}
	response := make([]byte, maxResponse)
	for have := 0; ; {
		if err := w.await(ctx, unix.POLLIN); err != nil {
			return nil, err
		}
		n, err := unix.Read(w.fd, response[have:])
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return nil, fmt.Errorf("read from the TPM: %w", err)
		case n == 0:
			return nil, errors.New("the TPM ended the connection without a response")
		}
		have += n
		if have < headerSize {
			continue
		}
		switch size := binary.BigEndian.Uint32(response[2:]); {
		case size < headerSize || size > maxResponse || int(size) < have:
			return nil, fmt.Errorf("the TPM's response says that it has %d bytes, and %d were read", size, have)
		case int(size) == have:
			return response[:have], nil
		}
	}
}

// await returns when the wire is ready for events, and an error when the context has been over for
// settle.
func (w *wire) await(ctx context.Context, events int16) error {
	var deadline time.Time
	for {
		ready := []unix.PollFd{{Fd: int32(w.fd), Events: events}} //nolint:gosec // descriptors are small
		n, err := unix.Poll(ready, int(glance/time.Millisecond))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for the TPM: %w", err)
		case n > 0:
			return nil // also where the other side is gone: the call that follows says why
		}
		if ctx.Err() == nil {
			continue
		}
		if now := time.Now(); deadline.IsZero() {
			deadline = now.Add(settle)
		} else if now.After(deadline) {
			return fmt.Errorf("%w: %w", errUnanswered, ctx.Err())
		}
	}
}

// lock takes the lock on a file, or on the wire's own descriptor where path is empty, and returns
// what gives it back.
func lock(ctx context.Context, path string, descriptor int) (func(), error) {
	fd, release := descriptor, func() { _ = unix.Flock(descriptor, unix.LOCK_UN) }
	if path != "" {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, refuse("name a lock file that this user can write, in a folder that is there",
				fmt.Errorf("lock file: %w", err))
		}
		fd, release = int(file.Fd()), func() { _ = file.Close() }
	}
	for {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return release, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			release()
			return nil, fmt.Errorf("lock the TPM: %w", err)
		}
		if err := pause(ctx, glance); err != nil {
			release()
			return nil, refuse("wait until the other program is done with it, or end that program",
				fmt.Errorf("another program uses the TPM: %w", err))
		}
	}
}
