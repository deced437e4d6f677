package link

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"net"
	"strconv"
	"time"
)

// Peer is who is at the other end, as far as the connection shows it. The zero Peer is nobody.
type Peer struct {
	// UID is that of the process at the other end of a unix socket, when it connected; HasUID says that
	// it is known, since 0 is root.
	UID    int
	HasUID bool
	// Certificates are those that a TLS client showed, leaf first, and has proved to have the key of.
	// Whether they are worth anything was not looked at.
	Certificates []*x509.Certificate
	// Address is for logs.
	Address string
	// FrameBytes bounds this peer's frames where it is below the limit of all; 0 for that of all.
	FrameBytes int
}

// key is the same for connections of the same peer.
func (p Peer) key() string {
	switch {
	case len(p.Certificates) != 0:
		sum := sha256.Sum256(p.Certificates[0].RawSubjectPublicKeyInfo)
		return "key " + string(sum[:])
	case p.HasUID:
		return "uid " + strconv.Itoa(p.UID)
	default:
		host, _, err := net.SplitHostPort(p.Address)
		if err != nil {
			host = p.Address
		}
		return "address " + host
	}
}

// Handler answers a call, or takes a notice, whose result goes nowhere. ctx ends with the link, and
// when the caller has stopped waiting. It is called for several calls at once, but for one notice at a
// time, in the order in which they were sent.
type Handler func(ctx context.Context, peer Peer, method string, body json.RawMessage) (any, error)

// connKey is the key of the Conn in a handler's context.
type connKey struct{}

// From returns the link that a handler's call came over, to call back or to send notices.
func From(ctx context.Context) (*Conn, bool) {
	conn, ok := ctx.Value(connKey{}).(*Conn)
	return conn, ok
}

// keepAlive finds a host that is gone: within 11 s, so that a caller that waits for an answer turns to
// the next address.
func keepAlive(conn net.Conn) {
	if secured, ok := conn.(interface{ NetConn() net.Conn }); ok { // *tls.Conn
		conn = secured.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{
			Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3,
		})
	}
}
