package link

import (
	"net"
	"syscall"
)

// PeerOf returns who is at the other end of an accepted connection, as far as the system knows: the
// uid for a unix socket (SO_PEERCRED, as it was at connect), the address for others. A TLS connection's
// certificates are for whoever did its handshake to add.
func PeerOf(conn net.Conn) Peer {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return Peer{Address: conn.RemoteAddr().String()}
	}
	peer := Peer{Address: "unix"}
	raw, err := unix.SyscallConn()
	if err != nil {
		return peer
	}
	_ = raw.Control(func(fd uintptr) {
		got, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		if err == nil {
			peer.UID, peer.HasUID = int(got.Uid), true
		}
	})
	return peer
}
