package link_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
)

// TestMain fails where a link that is over leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type number struct {
	N int `json:"n"`
}

// echo answers "echo" with what was asked, and others as their names say.
func echo(ctx context.Context, peer link.Peer, method string, body json.RawMessage) (any, error) {
	var asked number
	switch method {
	case "echo":
		if err := link.Decode(body, &asked); err != nil {
			return nil, err
		}
		return asked, nil
	case "uid":
		return number{N: peer.UID}, nil
	case "panic":
		panic("a handler's own mistake: secret")
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "held":
		return nil, &link.Error{
			Class: attestd.ClassQuarantined, Message: "held", Hint: "ask why", AppraisalID: "apr-1",
		}
	case "undecided":
		return nil, &attestd.UndecidedError{Check: "crl", Class: attestd.ClassTCB, Got: "nothing", Hint: "wait"}
	case "unknown":
		return nil, errors.New("the password is secret")
	case "back": // calls the caller
		conn, ok := link.From(ctx)
		if !ok {
			return nil, errors.New("no link")
		}
		err := conn.Call(ctx, "echo", number{N: 5}, &asked)
		return asked, err
	default:
		return nil, &attestd.CallerError{
			Class: attestd.ClassUnsupported, Hint: "another", Err: fmt.Errorf("no method %q", method),
		}
	}
}

// pair returns two ends of a link over a unix socket.
func pair(t testing.TB, handler link.Handler, options link.Options) (here, there *link.Conn) {
	t.Helper()
	mine, theirs := sockets(t)
	here = link.NewConn(mine, link.PeerOf(mine), handler, options)
	there = link.NewConn(theirs, link.PeerOf(theirs), handler, options)
	t.Cleanup(func() {
		_ = here.Close()
		_ = there.Close()
		here.Wait()
		there.Wait()
	})
	return here, there
}

// sockets returns two connected unix sockets.
func sockets(t testing.TB) (mine, theirs net.Conn) {
	t.Helper()
	listener := listen(t)
	defer func() { _ = listener.Close() }()
	mine, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = mine.Close()
		_ = theirs.Close()
	})
	return mine, theirs
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// ended demands that the link is over soon.
func ended(t testing.TB, conn *link.Conn) {
	t.Helper()
	select {
	case <-conn.Done():
	case <-time.After(5 * time.Second):
		t.Error("the link goes on")
	}
}

func TestBothEndsCallAtOnce(t *testing.T) {
	here, there := pair(t, echo, link.Options{})
	ctx := soon(t)
	var all sync.WaitGroup
	for _, conn := range []*link.Conn{here, there} {
		for n := range 200 {
			all.Add(1)
			go func() {
				defer all.Done()
				var got number
				if err := conn.Call(ctx, "echo", number{N: n}, &got); err != nil || got.N != n {
					t.Errorf("asked %d, got %d, %v", n, got.N, err)
				}
			}()
		}
	}
	all.Wait()
	var got number
	if err := here.Call(ctx, "back", nil, &got); err != nil || got.N != 5 {
		t.Errorf("a handler that calls back: got %d, %v", got.N, err)
	}
}

func TestAnErrorKeepsItsClassOverTheLink(t *testing.T) {
	here, _ := pair(t, echo, link.Options{CallTimeout: 200 * time.Millisecond})
	for method, want := range map[string]link.Error{
		"held": {
			Class: attestd.ClassQuarantined, Message: "held", Hint: "ask why", AppraisalID: "apr-1",
		},
		// An error that says it is undecided is never an answer, whatever class it names.
		"undecided": {
			Class: attestd.ClassStoreUnavailable, Message: "could not decide: crl: got nothing", Hint: "wait",
		},
		"nonsense": {Class: attestd.ClassUnsupported, Message: `no method "nonsense"`, Hint: "another"},
		"unknown": {
			Class: attestd.ClassInternal, Message: "internal error", Hint: "the peer's log has the cause",
		},
		"panic": { // neg: 190
			Class: attestd.ClassInternal, Message: "internal error", Hint: "the peer's log has the cause",
		},
		"echo": {
			Class: attestd.ClassMalformed, Message: `json: document: unknown key "m"`,
			Hint: "run the same version of attestd and of its plugins",
		},
	} {
		var got *link.Error
		err := here.Call(soon(t), method, map[string]int{"m": 1}, nil)
		if !errors.As(err, &got) || got.Class != want.Class || got.Message != want.Message ||
			got.Hint != want.Hint || got.AppraisalID != want.AppraisalID {
			t.Errorf("%s: got %+v, want %+v", method, got, want)
		}
		if errors.Is(err, link.ErrUnreached) {
			t.Errorf("%s: an answer counts as none", method)
		}
	}
	if err := here.Call(soon(t), "echo", number{N: 1}, nil); err != nil {
		t.Errorf("the link did not live through it: %v", err)
	}
}

func TestACallWithoutAnAnswerIsUndecided(t *testing.T) {
	here, there := pair(t, echo, link.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	undecided := func(name string, err error) {
		t.Helper()
		var got *link.Error
		if !errors.As(err, &got) || !got.Class.Undecided() || !errors.Is(err, link.ErrUnreached) || got.Hint == "" {
			t.Errorf("%s: got %#v", name, err)
		}
	}
	var late *link.Error // the peer says so itself, where it is first
	if err := here.Call(ctx, "wait", nil, nil); !errors.As(err, &late) || !late.Class.Undecided() {
		t.Errorf("too late: got %#v", err)
	}
	over := make(chan error, 1)
	go func() { over <- here.Call(context.Background(), "wait", nil, nil) }()
	time.Sleep(20 * time.Millisecond)
	_ = there.Close()
	undecided("cut off", <-over)
	ended(t, here)
	undecided("afterwards", here.Call(soon(t), "echo", number{N: 1}, nil))
	undecided("a notice", here.Notify("echo", number{N: 1}))
}

func TestNoticesKeepTheirOrder(t *testing.T) {
	var got []int
	done := make(chan struct{})
	handler := func(_ context.Context, _ link.Peer, _ string, body json.RawMessage) (any, error) {
		var one number
		err := link.Decode(body, &one)
		got = append(got, one.N)
		if len(got) == 50 {
			close(done)
		}
		return nil, err
	}
	here, _ := pair(t, handler, link.Options{})
	for n := range 50 {
		if err := here.Notify("n", number{N: n}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("not all came")
	}
	for n := range got {
		if got[n] != n {
			t.Fatalf("order: %v", got)
		}
	}
}

// closed reports whether the peer ends the connection soon.
func closed(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := io.Copy(io.Discard, conn)
	var timeout net.Error
	return !errors.As(err, &timeout) || !timeout.Timeout()
}

func echoAsked(_ context.Context, _ link.Peer, _ string, body json.RawMessage) (any, error) {
	var in asked
	err := link.Decode(body, &in)
	return in, err
}
