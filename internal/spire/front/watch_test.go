package front_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
)

// told collects the snapshots that come over a link.
type told struct {
	mu    sync.Mutex
	got   []wire.Signed
	times []time.Time
}

func (s *told) handle(_ context.Context, _ link.Peer, method string, body json.RawMessage) (any, error) {
	var one wire.Signed
	if err := link.Decode(body, &one); err != nil || method != wire.MethodSnapshot {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got, s.times = append(s.got, one), append(s.times, time.Now())
	return nil, nil
}

func (s *told) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

func watch(t *testing.T, client *link.Client) wire.Watching {
	t.Helper()
	var watching wire.Watching
	err := client.Call(soon(t), wire.MethodWatch, wire.WatchRequest{Plugin: "workloadattestor"}, &watching)
	if err != nil {
		t.Fatal(err)
	}
	return watching
}

func TestANodeIsToldHowItStands(t *testing.T) {
	w := newWorld(t)
	heard := &told{}
	client := w.dialTLS(w.node(nodeID, time.Hour), heard.handle)
	before := w.clock()
	watching := watch(t, client)
	if watching.AgentID != nodeID || watching.EverySeconds != 2 || watching.Now.Before(before) ||
		watching.Now.After(w.clock()) {
		t.Errorf("%+v", watching)
	}
	eventually(t, "the first snapshot", func() bool { return heard.count() == 1 })
	heard.mu.Lock()
	var first wire.Snapshot
	if err := json.Unmarshal(heard.got[0].Payload, &first); err != nil || first.AgentID != nodeID ||
		len(first.Workloads) != 1 {
		t.Errorf("%+v, %v", first, err)
	}
	heard.mu.Unlock()
	// Other nodes' changes are none of its own.
	for range 20 {
		w.office.change()
		time.Sleep(5 * time.Millisecond)
	}
	if got := heard.count(); got != 1 {
		t.Errorf("%d snapshots where nothing changed", got)
	}
	// At once where something changes.
	changed := time.Now()
	w.office.alter()
	eventually(t, "a snapshot after a change", func() bool { return heard.count() == 2 })
	if took := time.Since(changed); took > time.Second {
		t.Errorf("a change took %s", took)
	}
	// And without a change, by the heartbeat.
	eventually(t, "a snapshot after a while", func() bool { return heard.count() == 3 })
	heard.mu.Lock()
	var second wire.Snapshot
	if err := json.Unmarshal(heard.got[1].Payload, &second); err != nil || second.Workloads != nil {
		t.Errorf("names are sent again: %+v, %v", second, err)
	}
	if gap := heard.times[2].Sub(heard.times[1]); gap < 1500*time.Millisecond || gap > 3500*time.Millisecond {
		t.Errorf("a heartbeat after %s", gap)
	}
	heard.mu.Unlock()
	// Asked again, it begins nothing twice, and answers at once.
	watch(t, client)
	eventually(t, "a snapshot for whoever asks again", func() bool { return heard.count() == 4 })
	// New names come with the next.
	w.office.mu.Lock()
	w.office.revision = "r2"
	w.office.mu.Unlock()
	w.office.alter()
	eventually(t, "a snapshot with new names", func() bool { return heard.count() == 5 })
	heard.mu.Lock()
	var last wire.Snapshot
	if err := json.Unmarshal(heard.got[4].Payload, &last); err != nil || len(last.Workloads) != 1 {
		t.Errorf("%+v, %v", last, err)
	}
	heard.mu.Unlock()
	if got := w.front.Status().Watchers; got != 1 {
		t.Errorf("%d watchers", got)
	}
}

// TestChangesThatFollowEachOtherArePushedTogether: each push costs a signature.
func TestChangesThatFollowEachOtherArePushedTogether(t *testing.T) {
	w := newWorld(t)
	heard := &told{}
	watch(t, w.dialTLS(w.node(nodeID, time.Hour), heard.handle))
	for range 500 {
		w.office.alter()
		time.Sleep(200 * time.Microsecond)
	}
	took := time.Duration(500*200) * time.Microsecond
	if got := heard.count(); got > 60 {
		t.Errorf("%d pushes for changes within %s", got, took)
	}
	// The last change is never the one that is left out.
	w.office.mu.Lock()
	before := w.office.snapshots
	w.office.mu.Unlock()
	w.office.alter()
	eventually(t, "a snapshot after the last change", func() bool {
		w.office.mu.Lock()
		defer w.office.mu.Unlock()
		return w.office.snapshots > before
	})
}

func TestWhereAttestdCannotTellNothingIsPushed(t *testing.T) {
	w := newWorld(t)
	w.office.mu.Lock()
	w.office.failing = &attestd.UndecidedError{Class: attestd.ClassStoreUnavailable}
	w.office.mu.Unlock()
	heard := &told{}
	watch(t, w.dialTLS(w.node(nodeID, time.Hour), heard.handle))
	w.office.alter()
	eventually(t, "asked", func() bool { w.office.mu.Lock(); defer w.office.mu.Unlock(); return w.office.snapshots > 1 })
	if heard.count() != 0 {
		t.Error("something was pushed")
	}
}

// TestANodeIsToldNothingAfterItsCertificate: also on a link that it has had for long.
func TestANodeIsToldNothingAfterItsCertificate(t *testing.T) {
	w := newWorld(t)
	heard := &told{}
	client := w.dialTLS(w.node(nodeID, time.Hour), heard.handle)
	watch(t, client)
	eventually(t, "the first snapshot", func() bool { return heard.count() == 1 })
	w.advance(2 * time.Hour)
	w.office.alter()
	eventually(t, "the link ends", func() bool { return w.front.Status().Watchers == 0 })
	time.Sleep(50 * time.Millisecond)
	if heard.count() != 1 {
		t.Error("a node was told something after its certificate had ended")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if err := client.Call(ctx, wire.MethodWatch, wire.WatchRequest{Plugin: "x"}, nil); err == nil {
		t.Error("it watches again")
	}
}

// TestANodeThatDoesNotReadIsNotWaitedFor: its link ends, and another's snapshots come meanwhile.
func TestANodeThatDoesNotReadIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	heard := &told{}
	watch(t, w.dialTLS(w.node(nodeID+"c", time.Hour), heard.handle))
	roots := x509.NewCertPool()
	root, err := x509.ParseCertificate(w.pki.CA())
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(root)
	conn, err := tls.Dial("tcp", w.front.Bound().Listen.String(), &tls.Config{
		RootCAs: roots, ServerName: link.ServerName, NextProtos: []string{link.ALPN}, MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{w.node(nodeID, time.Hour)},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ask := `{"id":1,"ms":1000,"method":"watch","body":{"plugin":"x","version":""}}`
	if _, err := conn.Write(append([]byte{0, 0, 0, byte(len(ask))}, ask...)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both watch", func() bool { return w.front.Status().Watchers == 2 })
	w.office.mu.Lock()
	w.office.pad = strings.Repeat("a", 1<<20) // so that buffers on the way are full soon
	w.office.mu.Unlock()
	for began := time.Now(); w.front.Status().Watchers == 2; time.Sleep(25 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatal("a node that does not read is waited for")
		}
		w.office.alter()
	}
	// Its snapshots have a megabyte here, too; by the heartbeat alone it would be told four times.
	if got := heard.count(); got < 6 {
		t.Errorf("the honest one was told %d times", got)
	}
}
