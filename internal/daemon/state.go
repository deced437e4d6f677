package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// stateLock keeps a second daemon off the same state.
type stateLock struct{ file *os.File }

// lockState makes the state folder where there is none and takes it for this process. Two daemons
// over one store would each count their own outstanding challenges.
//
// Errors: where the folder is open to others (whoever can write there can replace the database and
// with it every used nonce), or another daemon has it.
func lockState(folder string) (*stateLock, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, unfit(err, "make the folder of state_dir, or name one that can be made")
	}
	info, err := os.Stat(folder)
	if err != nil {
		return nil, err
	}
	if open := info.Mode().Perm() & 0o022; open != 0 {
		return nil, unfit(fmt.Errorf("state_dir has mode %04o, want 0700", info.Mode().Perm()),
			"chmod 700 "+folder)
	}
	file, err := os.OpenFile(filepath.Join(folder, "attestd.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { //nolint:gosec // a descriptor
		_ = file.Close()
		return nil, unfit(errors.New("another attestd serves from this state_dir"),
			"stop it, or give this one a state_dir of its own")
	}
	return &stateLock{file}, nil
}

// Close lets the state go.
func (l *stateLock) Close() error { return l.file.Close() }

// listenUnix binds the socket. One that a dead daemon left is replaced; one that answers is not, nor
// is anything that is no socket.
func listenUnix(path string) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != os.ModeSocket:
		return nil, unfit(fmt.Errorf("%s is there and is no socket", path), "name another path in listen.unix")
	default:
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			_ = conn.Close()
			return nil, unfit(fmt.Errorf("somebody serves on %s already", path), "stop it, or change listen.unix")
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	// Until here the mode is 0777 less the umask; connecting needs the right to write, which an
	// ordinary umask gives the owner alone.
	if err := os.Chmod(path, 0o660); err != nil { //nolint:gosec // the group is meant to connect
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}
