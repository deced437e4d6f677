package front_test

import (
	"context"
	"encoding/json"
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
	if string(heard.got[0].Payload) != nodeID {
		t.Errorf("of %q", heard.got[0].Payload)
	}
	heard.mu.Unlock()
	// At once where something changes.
	changed := time.Now()
	w.office.change()
	eventually(t, "a snapshot after a change", func() bool { return heard.count() == 2 })
	if took := time.Since(changed); took > time.Second {
		t.Errorf("a change took %s", took)
	}
	// And without a change, by the heartbeat.
	eventually(t, "a snapshot after a while", func() bool { return heard.count() == 3 })
	heard.mu.Lock()
	if gap := heard.times[2].Sub(heard.times[1]); gap < 1500*time.Millisecond || gap > 3500*time.Millisecond {
		t.Errorf("a heartbeat after %s", gap)
	}
	heard.mu.Unlock()
	// Asked again, it begins nothing twice, and answers at once.
	watch(t, client)
	eventually(t, "a snapshot for whoever asks again", func() bool { return heard.count() == 4 })
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
		w.office.change()
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
	w.office.change()
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
	w.office.change()
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
	w.office.change()
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

// TestANodeThatDoesNotReadIsNotWaitedFor: its link ends, and another's snapshots come.
func TestANodeThatDoesNotReadIsNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	heard := &told{}
	watch(t, w.dialTLS(w.node(nodeID+"c", time.Hour), heard.handle))
	stuck := make(chan struct{})
	defer close(stuck)
	var notices sync.Once
	slow := w.dialTLS(w.node(nodeID, time.Hour), func(context.Context, link.Peer, string, json.RawMessage) (any, error) {
		notices.Do(func() { <-stuck })
		return nil, nil
	})
	watch(t, slow)
	for range 100 {
		w.office.change()
		time.Sleep(25 * time.Millisecond)
	}
	eventually(t, "the honest one is told", func() bool { return heard.count() > 20 })
}
