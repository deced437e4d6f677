package front_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/spire/front"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
)

// documents has one that each method takes.
var documents = map[string]any{
	wire.MethodNodeBegin:  wire.NodeBegin{},
	wire.MethodNodeFinish: wire.NodeFinish{},
	wire.MethodGrant:      wire.GrantRequest{},
	wire.MethodReport:     wire.PluginReport{Plugin: "composer"},
	wire.MethodHoldover:   wire.HoldoverRequest{},
	wire.MethodTakeState:  wire.Empty{},
	wire.MethodKeepState:  wire.ControllerState{},
	wire.MethodOrders:     wire.Empty{},
	wire.MethodMap:        wire.Map{},
	wire.MethodReached:    wire.Reached{},
	wire.MethodCanary:     wire.CanaryResult{Name: "mint"},
	wire.MethodWatch:      wire.WatchRequest{Plugin: "workloadattestor"},
	// What attestd asks of others is nobody's to ask of attestd.
	wire.MethodEnforce: wire.Orders{}, wire.MethodRefresh: wire.RefreshRequest{},
	wire.MethodReattest: wire.ReattestRequest{}, wire.MethodMintX509: wire.MintX509{},
	wire.MethodMintJWT: wire.MintJWT{}, wire.MethodSnapshot: wire.Signed{}, "shutdown": wire.Empty{},
}

var (
	issuerMethods = []string{
		wire.MethodNodeBegin, wire.MethodNodeFinish, wire.MethodGrant, wire.MethodReport, wire.MethodHoldover,
	}
	controllerMethods = []string{
		wire.MethodTakeState, wire.MethodKeepState, wire.MethodOrders, wire.MethodMap, wire.MethodReached,
		wire.MethodCanary,
	}
	nodeMethods = []string{wire.MethodWatch}
)

// TestEachRoleMayCallItsMethodsAlone goes through every peer and every method.
func TestEachRoleMayCallItsMethodsAlone(t *testing.T) {
	w := newWorld(t)
	for name, row := range map[string]struct {
		client *link.Client
		may    []string
	}{
		"attestd's own uid": {w.dialUnix(nil), slices.Concat(controllerMethods, issuerMethods)},
		"an issuer":         {w.dialTLS(w.operator("composer", operator.Issuer, "*"), nil), issuerMethods},
		"a node":            {w.dialTLS(w.node(nodeID, time.Hour), nil), nodeMethods},
	} {
		t.Run(name, func(t *testing.T) {
			if slices.Contains(row.may, wire.MethodTakeState) {
				if err := row.client.Call(soon(t), wire.MethodTakeState, nil, nil); err != nil {
					t.Fatal(err)
				}
			}
			for method, document := range documents {
				before := len(w.noted())
				class := classOf(t, row.client.Call(soon(t), method, document, nil))
				if slices.Contains(row.may, method) {
					if class != "" && method != wire.MethodNodeFinish {
						t.Errorf("%s: %s", method, class)
					}
					continue
				}
				if class != attestd.ClassForbidden {
					t.Errorf("%s: got %q, want FORBIDDEN", method, class)
				}
				noted := w.noted()
				if len(noted) != before+1 || noted[before].Method != method || noted[before].Who == "" {
					t.Errorf("%s: was not noted: %+v", method, noted[before:])
				}
			}
		})
	}
	if got := w.front.Status(); got.Watchers != 1 || !got.Controller || got.Refused == 0 || len(got.Plugins) != 2 ||
		len(got.Canaries) != 1 || got.MapAt.IsZero() {
		t.Errorf("status %+v", got)
	}
}

func TestStrangersAreTurnedAway(t *testing.T) {
	w := newWorld(t)
	other := newWorld(t)
	for name, client := range map[string]*link.Client{
		"a viewer":              w.dialTLS(w.operator("eve", operator.Viewer, "*"), nil),
		"who quarantines":       w.dialTLS(w.operator("sec", operator.Security, "*"), nil),
		"an issuer of a tenant": w.dialTLS(w.operator("blue", operator.Issuer, "blue"), nil),
		"an operator elsewhere": w.dialTLS(other.operator("composer", operator.Issuer, "*"), nil),
		"a node elsewhere":      w.dialTLS(other.node(nodeID, time.Hour), nil),
		"without a certificate": w.dialTLS(tls.Certificate{}, nil),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			err := client.Call(ctx, wire.MethodGrant, wire.GrantRequest{}, nil)
			if !errors.Is(err, link.ErrUnreached) {
				t.Errorf("got %v", err)
			}
		})
	}
	if len(w.office.said()) != 0 || len(w.noted()) == 0 {
		t.Errorf("asked %v, noted %v", w.office.said(), w.noted())
	}
}

// TestAClientOfSomethingElseIsTurnedAway: a certificate that is good here, and another protocol.
func TestAClientOfSomethingElseIsTurnedAway(t *testing.T) {
	w := newWorld(t)
	certificate := w.operator("composer", operator.Issuer, "*")
	for _, protocols := range [][]string{nil, {"http/1.1"}} {
		conn, err := tls.Dial("tcp", w.front.Bound().Listen.String(), &tls.Config{
			InsecureSkipVerify: true, //nolint:gosec // it is the client that is looked at
			Certificates:       []tls.Certificate{certificate}, NextProtos: protocols,
		})
		if err != nil {
			continue // refused in the handshake already
		}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		answer, _ := io.ReadAll(conn)
		if !strings.Contains(string(answer), "UNAUTHENTICATED") {
			t.Errorf("%v: got %q", protocols, answer)
		}
		_ = conn.Close()
	}
}

// TestARevokedIssuerIsRefusedOnALinkThatItHas: not only when it dials again.
func TestARevokedIssuerIsRefusedOnALinkThatItHas(t *testing.T) {
	w := newWorld(t)
	client := w.dialTLS(w.operator("composer", operator.Issuer, "*"), nil)
	if err := client.Call(soon(t), wire.MethodGrant, wire.GrantRequest{}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.book.Revoke(context.Background(), w.root, "composer"); err != nil {
		t.Fatal(err)
	}
	w.advance(2 * time.Second)
	if class := classOf(t, client.Call(soon(t), wire.MethodGrant, wire.GrantRequest{}, nil)); class !=
		attestd.ClassUnauthenticated {
		t.Errorf("got %q", class)
	}
	if got := len(w.office.said()); got != 1 {
		t.Errorf("the office was asked %d times", got)
	}
}

// TestAnIssuerThatIsNoneAnyMoreIsRefused, should its record ever change under its certificate.
func TestAnIssuerThatIsNoneAnyMoreIsRefused(t *testing.T) {
	w := newWorld(t)
	client := w.dialTLS(w.operator("composer", operator.Issuer, "*"), nil)
	if err := client.Call(soon(t), wire.MethodGrant, wire.GrantRequest{}, nil); err != nil {
		t.Fatal(err)
	}
	w.store.mu.Lock()
	record := w.store.all["composer"]
	record.Roles = []operator.Role{operator.Viewer}
	w.store.all["composer"] = record
	w.store.mu.Unlock()
	w.advance(2 * time.Second)
	err := client.Call(soon(t), wire.MethodGrant, wire.GrantRequest{}, nil)
	if got := classOf(t, err); got != attestd.ClassForbidden {
		t.Errorf("got %q", got)
	}
}

// TestWhoSomebodyIsCanBeUndecided: a store that is down is no reason to let somebody in, nor an answer.
func TestWhoSomebodyIsCanBeUndecided(t *testing.T) {
	w := newWorld(t)
	client := w.dialTLS(w.operator("composer", operator.Issuer, "*"), nil)
	if err := client.Call(soon(t), wire.MethodGrant, wire.GrantRequest{}, nil); err != nil {
		t.Fatal(err)
	}
	w.store.mu.Lock()
	w.store.down = &attestd.UndecidedError{Class: attestd.ClassStoreUnavailable, Got: "down"}
	w.store.mu.Unlock()
	w.advance(2 * time.Second)
	if class := classOf(t, client.Call(soon(t), wire.MethodGrant, wire.GrantRequest{}, nil)); class !=
		attestd.ClassStoreUnavailable {
		t.Errorf("got %q", class)
	}
}

// as connects to the socket with another uid, as only root can: SO_PEERCRED is of the thread that
// connects.
func as(t *testing.T, uid int, path string) net.Conn {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const same = ^uintptr(0)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, same, uintptr(uid), same); errno != 0 {
		t.Fatal(errno)
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: path})
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, same, 0, same); errno != 0 {
		panic("this thread cannot go on as another user") // it must not be used again
	}
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "socket")
	defer func() { _ = file.Close() }()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestUidsOnTheSocket runs where the tests run as root, as they do in CI.
func TestUidsOnTheSocket(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can connect as others; CI does")
	}
	w := newWorld(t)
	ask := func(uid int, method string) attestd.Class {
		conn := link.NewConn(as(t, uid, w.config.Unix), link.Peer{}, nil, link.Options{})
		defer func() { _ = conn.Close() }()
		return classOf(t, conn.Call(soon(t), method, documents[method], nil))
	}
	// 4242 is named, and an issuer alone.
	if got := ask(4242, wire.MethodGrant); got != "" {
		t.Errorf("a named uid: %s", got)
	}
	if got := ask(4242, wire.MethodTakeState); got != attestd.ClassForbidden {
		t.Errorf("a named uid as controller: %q", got)
	}
	if got := ask(65534, wire.MethodGrant); !got.Undecided() {
		t.Errorf("a uid that is not named: %q", got)
	}
	if got := w.office.said(); len(got) != 1 {
		t.Errorf("asked %v", got)
	}
}

func TestAPanicInTheOfficeIsTheCallsAlone(t *testing.T) { // neg: 190
	w := newWorld(t)
	client := w.dialUnix(nil)
	if got := classOf(t, client.Call(soon(t), wire.MethodGrant, wire.GrantRequest{ID: "panic"}, nil)); got !=
		attestd.ClassInternal {
		t.Errorf("got %q", got)
	}
	if err := client.Call(soon(t), wire.MethodGrant, wire.GrantRequest{}, nil); err != nil {
		t.Error(err)
	}
}

func TestARejectionNamesItsAppraisalAndNoReason(t *testing.T) {
	w := newWorld(t)
	var said *link.Error
	err := w.dialUnix(nil).Call(soon(t), wire.MethodNodeFinish, wire.NodeFinish{}, nil)
	if !errors.As(err, &said) || said.Class != attestd.ClassPolicyDeny || said.AppraisalID != "apr-7" {
		t.Errorf("got %+v", said)
	}
}

// TestTheSourceIsTheNodesWhereItsServerSaysSo, and never a text of somebody's own.
func TestTheSourceIsTheNodesWhereItsServerSaysSo(t *testing.T) {
	w := newWorld(t)
	local := w.dialUnix(nil)
	remote := w.dialTLS(w.operator("composer", operator.Issuer, "*"), nil)
	for _, row := range []struct {
		client     *link.Client
		said, want string
		class      attestd.Class
	}{
		{local, "", "unix", ""}, {local, "192.0.2.7", "192.0.2.7", ""}, {remote, "", "127.0.0.1", ""},
		{remote, "2001:db8::1", "2001:db8::1", ""}, {local, "a\nb", "", attestd.ClassMalformed},
		{local, "192.0.2.7:80", "", attestd.ClassMalformed},
	} {
		w.office.mu.Lock()
		w.office.source = ""
		w.office.mu.Unlock()
		class := classOf(t, row.client.Call(soon(t), wire.MethodNodeBegin, wire.NodeBegin{Source: row.said}, nil))
		w.office.mu.Lock()
		if w.office.source != row.want || class != row.class {
			t.Errorf("%q: got %q, %q", row.said, w.office.source, class)
		}
		w.office.mu.Unlock()
	}
}

func TestAConfigurationIsWhole(t *testing.T) {
	w := newWorld(t)
	w.stop()
	for name, spoil := range map[string]func(*front.Config){
		"no office":             func(c *front.Config) { c.Office = nil },
		"no book":               func(c *front.Config) { c.Book = nil },
		"no node CA":            func(c *front.Config) { c.NodeCA = nil },
		"no controller":         func(c *front.Config) { c.Controller = nil },
		"no clock":              func(c *front.Config) { c.Now = nil },
		"nobody hears":          func(c *front.Config) { c.Note = nil },
		"no logger":             func(c *front.Config) { c.Logger = nil },
		"no certificate":        func(c *front.Config) { c.TLS = nil },
		"a relative state":      func(c *front.Config) { c.StatePath = "x" },
		"an empty socket":       func(c *front.Config) { c.Unix = "" },
		"an empty listener":     func(c *front.Config) { c.Listen = "" },
		"a gate for everybody":  func(c *front.Config) { c.Gate = "0.0.0.0:0" },
		"a gate by name":        func(c *front.Config) { c.Gate = "localhost:0" },
		"a file for the socket": func(c *front.Config) { c.Unix = filepath.Join(filepath.Dir(c.Unix), "token") },
	} {
		config := w.config
		spoil(&config)
		made, err := front.New(config)
		var caller *attestd.CallerError
		if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig || made != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A socket that nobody serves any more is taken over; one that is served is not.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: w.config.Unix})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if _, err := front.New(w.config); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a socket that is served: %v", err)
	}
	_ = stale.Close()
	w.run()
	if err := w.dialUnix(nil).Call(soon(t), wire.MethodGrant, wire.GrantRequest{}, nil); err != nil {
		t.Error(err)
	}
}
