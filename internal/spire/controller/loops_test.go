package controller_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	_ "modernc.org/sqlite" // the driver

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/controller"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
)

// daemon is attestd's side of the link: it orders, and writes down what it is told.
type daemon struct {
	t      *testing.T
	socket string
	stop   func()

	mu      sync.Mutex
	orders  wire.Orders
	state   wire.ControllerState
	kept    int
	maps    int
	last    wire.Map
	told    map[string]wire.ReachedOne // by what and id
	open    map[string]string
	canary  map[string]wire.CanaryResult
	conn    *link.Conn
	linked  chan struct{}
	refuses bool // to keep the record
	// replaced says that another link is the controller by now.
	replaced bool
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "ad")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := &daemon{
		t: t, socket: filepath.Join(dir, "a.sock"), told: map[string]wire.ReachedOne{}, open: map[string]string{},
		canary: map[string]wire.CanaryResult{}, orders: wire.Orders{Bans: []string{}, Holds: []string{}},
		state: wire.ControllerState{Bans: []string{}, Holds: []string{}}, linked: make(chan struct{}),
	}
	d.start()
	t.Cleanup(func() { d.stop() })
	return d
}

func (d *daemon) start() {
	listener, err := net.Listen("unix", d.socket)
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- link.Serve(ctx, listener, func(net.Conn) (link.Peer, link.Handler, error) {
			return link.Peer{Address: "controller"}, d.answer, nil
		}, link.Limits{})
	}()
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			d.t.Errorf("the daemon's listener: %v", err)
		}
	})
}

func (d *daemon) answer(ctx context.Context, _ link.Peer, method string, body json.RawMessage) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch method {
	case wire.MethodTakeState:
		return d.state, nil
	case wire.MethodOrders:
		d.conn, _ = link.From(ctx)
		close(d.linked)
		d.linked = make(chan struct{})
		return d.orders, nil
	case wire.MethodKeepState:
		if d.refuses {
			return nil, &attestd.UndecidedError{Class: attestd.ClassStoreUnavailable}
		}
		d.kept++
		d.state = wire.ControllerState{}
		return nil, link.Decode(body, &d.state)
	case wire.MethodMap:
		if d.replaced {
			return nil, &attestd.CallerError{Class: attestd.ClassConflict, Err: errors.New("another link")}
		}
		d.maps++
		d.last = wire.Map{}
		return nil, link.Decode(body, &d.last)
	case wire.MethodCanary:
		var result wire.CanaryResult
		err := link.Decode(body, &result)
		d.canary[result.Name] = result
		return nil, err
	case wire.MethodReached:
		var reached wire.Reached
		err := link.Decode(body, &reached)
		d.note(reached)
		return nil, err
	}
	return nil, errors.New("unexpected " + method)
}

func (d *daemon) note(reached wire.Reached) {
	for _, one := range reached.Done {
		d.told[one.What+" "+one.ID] = one
		delete(d.open, one.What+" "+one.ID)
	}
	for _, one := range reached.Open {
		d.open[one.What+" "+one.ID] = one.Detail
		delete(d.told, one.What+" "+one.ID)
	}
}

func (d *daemon) done(what, id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, there := d.told[what+" "+id]
	return there
}

func (d *daemon) opened(what, id string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open[what+" "+id]
}

// order sets what must hold and has it carried out.
func (d *daemon) order(change func(*wire.Orders)) wire.Reached {
	d.t.Helper()
	orders := d.ordered(change)
	reached, err := d.enforce(orders)
	if err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note(reached)
	return reached
}

// ordered sets what must hold.
func (d *daemon) ordered(change func(*wire.Orders)) wire.Orders {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.orders)
	d.orders.Number++
	d.orders.Since = time.Now().UTC()
	return d.orders
}

// enforce has orders carried out.
func (d *daemon) enforce(orders wire.Orders) (reached wire.Reached, err error) {
	d.mu.Lock()
	conn := d.conn
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(d.t.Context(), 5*time.Second)
	defer cancel()
	err = conn.Call(ctx, wire.MethodEnforce, orders, &reached)
	return reached, err
}

func (d *daemon) ask(conn *link.Conn, method string, in, out any) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 5*time.Second)
	defer cancel()
	if err := conn.Call(ctx, method, in, out); err != nil {
		d.t.Fatalf("%s: %v", method, err)
	}
}

func without(list []string, id string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(one string) bool { return one == id })
}

// world is a real SPIRE server with the policy, the test's plugins, a daemon and a controller, which
// comes by the unix socket.
type world struct {
	*realSPIRE
	*daemon
	config controller.Config
	logs   *logs
}

type logs struct {
	mu    sync.Mutex
	lines []string
}

func (l *logs) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(text))
	return len(text), nil
}

func (l *logs) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func newWorld(t *testing.T) *world {
	t.Helper()
	spireFolder(t)
	plugins := ""
	for _, one := range []struct{ kind, name, arg string }{
		{"NodeAttestor", "attestd", "attestor"}, {"CredentialComposer", "slow", "composer"},
	} {
		plugins += one.kind + " " + strconv.Quote(one.name) + " {\n plugin_cmd = " + strconv.Quote(thisProgram(t)) +
			"\n plugin_args = [" + strconv.Quote(one.arg) + "]\n plugin_data {}\n }\n"
	}
	s := startSPIRE(t, serverConfig{policy: policyFile, extra: plugins, data: policyData(t, func(a map[string]any) {
		a["controller_programs"] = []string{thisProgram(t)}
	})})
	w := &world{realSPIRE: s, daemon: newDaemon(t), logs: &logs{}}
	w.config = controller.Config{
		Server: "unix:" + s.socket, Attestd: []string{"unix:" + w.daemon.socket}, TrustDomain: domain,
		EntryPrefix: "attestd.", Poll: 500 * time.Millisecond, Canary: time.Second,
		CanaryID: "spiffe://" + domain + "/attestd/canary", Logger: slog.New(slog.NewTextHandler(w.logs, nil)),
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the controller:\n%s", strings.Join(w.logs.lines, ""))
		}
	})
	return w
}

// control starts the controller, and returns what ends it.
func (w *world) control(looks ...time.Duration) func() {
	w.t.Helper()
	if len(looks) == 0 {
		looks = controller.ReadBacks()
	}
	w.mu.Lock()
	linked := w.linked
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- controller.RunWith(ctx, w.config, looks...) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("the controller: %v", err)
		}
	})
	w.t.Cleanup(stop)
	select {
	case <-linked:
	case <-time.After(15 * time.Second):
		w.t.Fatal("the controller did not link")
	}
	return stop
}

// join attests an agent of the test's attestor and returns its id and a connection with its SVID.
func (w *world) join(name string) (string, *grpc.ClientConn) {
	w.t.Helper()
	id, svid, err := w.attestAs(w.t, "attestd", name)
	if err != nil {
		w.t.Fatal(err)
	}
	return id, w.remote(w.t, svid)
}

func (w *world) banned(id string) bool {
	w.t.Helper()
	return strings.Contains(w.run(w.t, "agent", "show", "-spiffeID", id), "Banned            : true")
}

func (w *world) until(what string, within time.Duration, holds func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(within)
	for !holds() {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// unbanInDatabase gives an agent a serial number again, as an attestation that was under way does.
func (w *world) unbanInDatabase(t *testing.T, id string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(w.dir, "ds.sqlite3")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	result, err := db.ExecContext(t.Context(),
		"UPDATE attested_node_entries SET serial_number = '1' WHERE spiffe_id = ?", id)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := result.RowsAffected(); n != 1 || err != nil {
		t.Fatalf("changed %d agents: %v", n, err)
	}
}
