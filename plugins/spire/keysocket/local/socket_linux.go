package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/attestd/attestd"
)

// Listener accepts connections of the folder's user alone.
type Listener struct {
	inner  *net.UnixListener
	folder *Folder
	name   string
	unlock func() error
	root   bool
	refuse func(Peer)
	once   sync.Once
}

// Peer is the process on the other end, as the kernel saw it when it connected (SO_PEERCRED,
// unix(7)).
type Peer struct {
	UID uint32
	PID int32
}

// Conn is a connection whose peer may be here.
type Conn struct {
	*net.UnixConn
	Peer Peer
}

// handover is how long a predecessor that was killed may take to be gone.
const handover = 3 * time.Second

// Listen opens the socket called name and takes the place of one that nobody listens on any more.
// With root it accepts root besides the folder's user. Whom it turned away is told to refused.
//
// Errors: where another process listens, and where something that is no socket has the name.
func (f *Folder) Listen(
	ctx context.Context, name string, root bool, refused func(Peer),
) (*Listener, error) {
	unlock, err := f.Lock(ctx, name+".lock")
	if err != nil {
		return nil, err
	}
	// Whoever holds the lock is the only one that listens: a socket that is there is a dead
	// process's.
	inner, err := f.bind(name)
	if err != nil {
		_ = unlock()
		return nil, err
	}
	return &Listener{
		inner: inner, folder: f, name: name, unlock: unlock, root: root, refuse: refused,
	}, nil
}

// Lock waits for the lock on the file called name, for as long as a predecessor that was killed may
// take to be gone, and returns what gives it back.
func (f *Folder) Lock(ctx context.Context, name string) (unlock func() error, err error) {
	file, err := os.OpenFile(f.at(name), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, f.problem(name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, handover)
	defer cancel()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return file.Close, nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			_ = file.Close()
			return nil, f.problem(name, err)
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, refuse("give each agent on this machine a folder of its own", fmt.Errorf(
				"another process uses %q", attestd.Excerpt(f.path, 200)))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (f *Folder) bind(name string) (*net.UnixListener, error) {
	path := f.at(name)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, f.problem(name, err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, refuse("move it away", fmt.Errorf("%s in %q is no socket (%s)", name,
			attestd.Excerpt(f.path, 200), info.Mode()))
	default:
		if err := os.Remove(path); err != nil {
			return nil, f.problem(name, err)
		}
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, f.problem(name, err)
	}
	listener.SetUnlinkOnClose(false) // Close does it, while it holds the lock
	if err := os.Chmod(path, 0o600); err != nil {
		_ = listener.Close()
		return nil, f.problem(name, err)
	}
	return listener, nil
}

// Accept waits for the next connection of somebody who may be here, and drops all others.
func (l *Listener) Accept() (*Conn, error) {
	for {
		conn, err := l.inner.AcceptUnix()
		if err != nil {
			return nil, err
		}
		peer, err := peerOf(conn)
		if err == nil && (peer.UID == l.folder.owner || l.root && peer.UID == 0) {
			return &Conn{UnixConn: conn, Peer: peer}, nil
		}
		_ = conn.Close()
		l.refuse(peer)
	}
}

// Close removes the socket and lets a successor listen. The folder stays open.
func (l *Listener) Close() error {
	var err error
	l.once.Do(func() {
		err = errors.Join(l.inner.Close(), os.Remove(l.folder.at(l.name)), l.unlock())
	})
	return err
}

// Dial connects to the socket called name, and demands that a process of the folder's user listens.
func (f *Folder) Dial(ctx context.Context, name string) (*Conn, error) {
	var dialer net.Dialer
	opened, err := dialer.DialContext(ctx, "unix", f.at(name))
	if err != nil {
		// The address is this process's own number of a descriptor, which tells nobody anything.
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, fmt.Errorf("nobody answers at %s in %q: %w",
			name, attestd.Excerpt(f.path, 200), err)
	}
	conn, ok := opened.(*net.UnixConn)
	if !ok {
		_ = opened.Close()
		return nil, fmt.Errorf("got a connection of kind %T", opened)
	}
	peer, err := peerOf(conn)
	if err == nil && peer.UID != f.owner {
		err = refuse("look for who listens there: ss -xlp", fmt.Errorf(
			"user %d listens at %s in %q, want %d",
			peer.UID, name, attestd.Excerpt(f.path, 200), f.owner))
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &Conn{UnixConn: conn, Peer: peer}, nil
}

func peerOf(conn *net.UnixConn) (Peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *unix.Ucred
	failed := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(failed, err); err != nil {
		return Peer{}, fmt.Errorf("whose connection it is: %w", err)
	}
	return Peer{UID: cred.Uid, PID: cred.Pid}, nil
}
