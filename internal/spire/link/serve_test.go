package link_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/spire/link"
)

func dial(t testing.TB, listener net.Listener) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestAPeerIsKnownByItsUid(t *testing.T) {
	listener := listen(t)
	serve(t, listener, echo, link.Limits{})
	c := client(t, link.ClientConfig{Addresses: []string{unix(listener)}})
	got := number{N: -1}
	if err := c.Call(soon(t), "uid", nil, &got); err != nil || got.N != os.Getuid() {
		t.Errorf("uid %d, %v", got.N, err)
	}
	if peer := link.PeerOf(dialTCP(t)); peer.HasUID {
		t.Error("a uid was seen through TCP")
	}
}

func dialTCP(t testing.TB) net.Conn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestWhoSaysNothingDisplacesItself: strangers hold every place, and somebody who is known still comes
// in.
func TestWhoSaysNothingDisplacesItself(t *testing.T) {
	listener := listen(t)
	serve(t, listener, nil, link.Limits{Unknown: 8, Handshake: time.Minute},
		func(conn net.Conn) (link.Peer, link.Handler, error) {
			var hello [1]byte // stands for a handshake
			if _, err := conn.Read(hello[:]); err != nil {
				return link.Peer{}, nil, err
			}
			return link.PeerOf(conn), echo, nil
		})
	strangers := make([]net.Conn, 20)
	for index := range strangers {
		strangers[index] = dial(t, listener)
	}
	honest := dial(t, listener)
	if _, err := honest.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if got := next(t, honest); got != `{"method":"link.greeting","body":{"v":1}}` {
		t.Fatal(got)
	}
	if !closed(strangers[0]) {
		t.Error("the one that has waited longest is kept")
	}
}

func TestAHandshakeHasItsTime(t *testing.T) {
	listener := listen(t)
	serve(t, listener, nil, link.Limits{Handshake: 50 * time.Millisecond},
		func(conn net.Conn) (link.Peer, link.Handler, error) {
			var hello [1]byte
			_, err := conn.Read(hello[:])
			return link.Peer{}, nil, err
		})
	if !closed(dial(t, listener)) {
		t.Error("it is kept")
	}
}

// TestAnOldLinkMakesRoomForANewOneOfTheSamePeer: a host that lost its power has left one behind.
func TestAnOldLinkMakesRoomForANewOneOfTheSamePeer(t *testing.T) {
	listener := listen(t)
	serve(t, listener, echo, link.Limits{PerPeer: 2, Connections: 2})
	var conns []net.Conn
	for range 3 {
		conn := dial(t, listener)
		next(t, conn)
		conns = append(conns, conn)
	}
	if !closed(conns[0]) {
		t.Error("the oldest is kept")
	}
	for _, conn := range conns[1:] {
		raw(t, conn, `{"id":1,"ms":1000,"method":"echo","body":{"n":1}}`)
		if got := next(t, conn); got != `{"id":1,"result":{"n":1}}` {
			t.Error(got)
		}
	}
}

func TestThereAreNoMorePeersThanTheLimit(t *testing.T) {
	listener := listen(t)
	serve(t, listener, echo, link.Limits{Connections: 1})
	next(t, dial(t, listener))
	if got := next(t, dial(t, listener)); got != `{"error":{"class":"RATE_LIMITED",`+
		`"message":"too many peers at once","hint":"raise the limit of peers"}}` {
		t.Error(got)
	}
}

func TestAPanicWhileAPeerArrivesIsThatPeersAlone(t *testing.T) {
	listener := listen(t)
	first := true
	serve(t, listener, nil, link.Limits{}, func(conn net.Conn) (link.Peer, link.Handler, error) {
		if first {
			first = false
			panic("secret")
		}
		return link.PeerOf(conn), echo, nil
	})
	if got := next(t, dial(t, listener)); got != `{"error":{"class":"INTERNAL",`+
		`"message":"internal error","hint":"the peer's log has the cause"}}` {
		t.Error(got)
	}
	next(t, dial(t, listener))
}

// TestServeLeavesNothingBehind: with calls under way, links that wait and strangers at the door.
func TestServeLeavesNothingBehind(t *testing.T) {
	listener := listen(t)
	working := make(chan struct{})
	ended := make(chan struct{})
	stop := serve(t, listener, func(ctx context.Context, _ link.Peer, _ string, _ json.RawMessage) (any, error) {
		close(working)
		<-ctx.Done()
		time.Sleep(50 * time.Millisecond) // what it still has to do
		close(ended)
		return nil, ctx.Err()
	}, link.Limits{})
	idle, busy := dial(t, listener), dial(t, listener)
	next(t, idle)
	next(t, busy)
	raw(t, busy, `{"id":1,"ms":60000,"method":"x","body":{}}`)
	<-working
	stop()
	select {
	case <-ended:
	default:
		t.Error("Serve has left a handler behind")
	}
	if !closed(idle) || !closed(busy) {
		t.Error("Serve has left a connection behind")
	}
}
