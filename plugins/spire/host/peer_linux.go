package host

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/plugins/spire/keysocket/local"
)

// neighbours lets in SPIRE, which is of this user (or root) and in this process's control groups, and nobody
// else: root in a container that the folder of temporary files was mounted into is root to the kernel too.
type neighbours struct {
	net.Listener
	logger hclog.Logger
}

// Accept waits for the next connection of a neighbour's, and drops all others.
func (n neighbours) Accept() (net.Conn, error) {
	for {
		conn, err := n.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if err := neighbour(conn); err == nil {
			return conn, nil
		} else {
			n.logger.Warn("a process that is not SPIRE was turned away", "err", attestd.Excerpt(err.Error(), 200))
		}
		_ = conn.Close()
	}
}

func neighbour(conn net.Conn) error {
	one, ok := conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("a connection of kind %T", conn)
	}
	raw, err := one.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	failed := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(failed, err); err != nil {
		return fmt.Errorf("whose connection it is: %w", err)
	}
	if peer.Uid != 0 && int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("process %d is user %d's", peer.Pid, peer.Uid)
	}
	if err := local.Beside("/proc", peer.Pid); err != nil {
		return fmt.Errorf("process %d: %w", peer.Pid, err)
	}
	return nil
}

func onlyNeighbours(listener net.Listener, logger hclog.Logger) net.Listener {
	return neighbours{Listener: listener, logger: logger}
}
