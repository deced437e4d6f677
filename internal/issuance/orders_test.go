package issuance_test

import (
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// TestOrdersAreWhatIsHeld: by whatever it is held, and as SPIRE spells it. neg: 197
func TestOrdersAreWhatIsHeld(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(nil, 1, 2, 3)
	first, changed := w.office.Orders()
	if first.Number == 0 || len(first.Bans)+len(first.Holds) != 0 {
		t.Fatalf("got %+v, want a number and nothing held", first)
	}
	lay := func(kind subject.BarKind, value string) {
		key := subject.Key{Kind: string(kind), Value: value}
		w.index.Publish(nil, []subject.BarWrite{{Key: key, Next: &subject.Bar{
			Key: key, State: attestd.StateQuarantined,
		}}})
	}
	w.wait(time.Second)
	lay(subject.BarInstance, node(1).Instance.Value)
	if !closed(changed) {
		t.Fatal("nobody was told of a hold")
	}
	second, changed := w.office.Orders()
	if second.Number <= first.Number || !slices.Equal(second.Bans, []string{string(node(1).ID)}) ||
		!second.Since.Equal(w.clock()) {
		t.Errorf("got %+v after an instance was held", second)
	}
	if again, _ := w.office.Orders(); again.Number != second.Number {
		t.Error("the number rose, and nothing changed")
	}
	w.publish(func(s *subject.Subject) { s.Floor, s.Generation = attestd.Risk(3), 9 }, 2)
	if !closed(changed) {
		t.Error("nobody was told of a publication")
	}
	if again, _ := w.office.Orders(); again.Number != second.Number || !again.Since.Equal(second.Since) {
		t.Error("evidence of another node changed the orders")
	}
	lay(subject.BarHost, node(2).Host)
	w.index.Hold([]subject.Bar{{Key: subject.ID(workload).Key(), State: attestd.StateRevoked}})
	w.hold("spiffe://example.org/spire/agent/join_token/X")
	w.hold("spiffe://example.net/elsewhere")
	w.hold("spiffe://example.org/Shop/Other")
	w.publish(func(s *subject.Subject) { s.State = attestd.StateQuarantined }, 3)
	got, changed := w.office.Orders()
	bans := []string{
		string(node(1).ID), string(node(2).ID), string(node(3).ID),
		"spiffe://example.org/spire/agent/join_token/x",
	}
	slices.Sort(bans)
	holds := []string{"spiffe://example.org/shop/other", workload}
	if !slices.Equal(got.Bans, bans) || !slices.Equal(got.Holds, holds) {
		t.Errorf("got bans %v and holds %v, want %v and %v", got.Bans, got.Holds, bans, holds)
	}
	must(t, w.office.SetMap(wire.Map{
		Entries: []wire.Entry{entry("spiffe://example.org/SHOP/other", string(node(1).ID))},
		Agents:  []wire.Agent{{ID: "spiffe://example.org/spire/agent/join_token/X"}},
	}))
	if !closed(changed) {
		t.Error("nobody was told that SPIRE spells it otherwise")
	}
	got, _ = w.office.Orders()
	if !slices.Contains(got.Bans, "spiffe://example.org/spire/agent/join_token/X") ||
		!slices.Contains(got.Holds, "spiffe://example.org/SHOP/other") {
		t.Errorf("got bans %v and holds %v, want them as SPIRE spells them", got.Bans, got.Holds)
	}
	w.index.Settle([]subject.Key{subject.ID(workload).Key()})
	if got, _ = w.office.Orders(); slices.Contains(got.Holds, workload) {
		t.Error("the workload is held after its hold ended")
	}
}

// TestNumbersRiseOverARestart: what an attestd before this one said is older.
func TestNumbersRiseOverARestart(t *testing.T) {
	w := newWorld(t, nil)
	var last uint64
	for range 100 {
		w.hold(node(len(w.asked)).ID)
		got, _ := w.office.Orders()
		last = max(last, got.Number)
		w.index.Publish(nil, []subject.BarWrite{{Key: node(len(w.asked)).ID.Key()}})
		got, _ = w.office.Orders()
		if got.Number <= last {
			t.Fatalf("number %d after %d", got.Number, last)
		}
		last = got.Number
	}
	later := newWorld(t, nil)
	later.wait(time.Second)
	if got, _ := later.office.Orders(); got.Number <= last {
		t.Errorf("after a restart the number is %d, before it was %d", got.Number, last)
	}
}
