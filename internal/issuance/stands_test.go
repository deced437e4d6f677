package issuance_test

import (
	"errors"
	"fmt"
	"github.com/attestd/attestd/internal/spire/wire"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/subject"
)

func (w *world) stands(id subject.ID) decision.Standing {
	w.Helper()
	return w.office.Stands(id, w.clock())
}

func TestACallerStandsAsItsNodesDo(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(nil, 1, 2)
	w.on(1, 2)
	got := w.stands(workload)
	if !got.Attested || got.State != attestd.StateTrusted || got.Tier != attestd.TierLow ||
		got.Tenant == "" || got.AttestedAt.IsZero() || got.DueAt.IsZero() || got.Status != "affirming" {
		t.Errorf("got %+v", got)
	}
	for range 3 {
		if again := w.stands(workload); again != got {
			t.Errorf("the same states stand as %+v, then as %+v", got, again)
		}
	}
	if n := w.outstanding(workload); n != 0 {
		t.Errorf("%d grants were counted", n)
	}
}

func TestAnyChangeIsAnotherEpoch(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(nil, 1)
	w.on(1)
	before := w.stands(workload)
	w.publish(func(s *subject.Subject) { s.Floor, s.Generation, s.Epoch = attestd.Risk(50), 9, 9 }, 1)
	after := w.stands(workload)
	if before.Epoch == after.Epoch || after.Tier != attestd.TierMedium {
		t.Errorf("risk 50 stands as %+v, before as %+v", after, before)
	}
}

// One bad node is left out; where none is left, what holds it is said.
func TestHoldsOfNodesAndNames(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(nil, 1, 2)
	w.on(1, 2)
	w.hold(node(1).ID)
	if got := w.stands(workload); !got.Attested || got.State != attestd.StateTrusted {
		t.Errorf("with one node of two held it stands as %+v", got)
	}
	w.hold(node(2).ID)
	if got := w.stands(workload); got.Attested || got.State != attestd.StateQuarantined {
		t.Errorf("with every node held it stands as %+v", got)
	}
	w = newWorld(t, nil)
	w.publish(nil, 1)
	w.on(1)
	before := w.office.Sequence()
	w.hold(workload)
	if got := w.stands(workload); got.State != attestd.StateQuarantined {
		t.Errorf("a held name stands as %+v", got)
	}
	if w.office.Sequence() <= before {
		t.Error("a hold has no number")
	}
}

// What is reported about a name adds to what its nodes come to, and lowers nothing.
func TestSignalsAboutANameAddToItsRisk(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(nil, 1)
	w.on(1)
	plain := w.stands(workload).Risk.Int()
	w.index.Publish([]subject.Subject{{
		ID: workload, Tenant: "blue", State: attestd.StateUnknown, Generation: 1, Epoch: 1,
		Floor:   attestd.Risk(0),
		Signals: []subject.Signal{{Code: subject.CodeReplay, Group: "report", Points: 75, Source: subject.SourceSelf, At: start}},
	}}, nil)
	got := w.stands(workload)
	if got.Risk.Int() != min(100, plain+75) || got.Status != "contraindicated" {
		t.Errorf("75 points more than %d stand as %+v", plain, got)
	}
}

func TestWhatNobodyAttestedStandsForNothing(t *testing.T) {
	for name, id := range map[string]subject.ID{
		"another trust domain": "spiffe://elsewhere.org/web", "no entry": "spiffe://example.org/none",
		"the server itself": server, "evidence alone": "spiffe://example.org/enclave/blue/x",
		"an agent that never attested": "spiffe://example.org/spire/agent/attestd/tpm/ffff",
		"no id":                        "",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *issuance.Config) { c.Unattested = issuance.Observe })
			w.on(1)
			got := w.stands(id)
			if got.Attested || got.Tier != attestd.TierUnknown || got.Risk.Int() != 100 || got.Tenant != "" {
				t.Errorf("it stands as %+v", got)
			}
		})
	}
}

func TestWhereTheEntriesAreNotKnownNothingIsSaid(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(nil, 1)
	w.on(1)
	w.wait(2 * time.Minute) // nobody vouches for the map any more
	w.mu.Lock()
	w.broken = errors.New("no controller")
	w.mu.Unlock()
	if got := w.stands(workload); got.Attested || got.Fault != decision.CodeStateUnavailable {
		t.Errorf("it stands as %+v", got)
	}
}

// A thousand nodes are not looked at one by one, and the worst of them is said.
func TestACallerOnManyNodes(t *testing.T) {
	w := newWorld(t, nil)
	all := make([]int, 200)
	for i := range all {
		all[i] = i + 1
	}
	w.publish(nil, all...)
	w.on(all...)
	before := w.stands(workload)
	if !before.Attested || before.Tier != attestd.TierLow || w.outstanding(workload) != 0 {
		t.Fatalf("it stands as %+v", before)
	}
	w.publish(func(s *subject.Subject) { s.Floor, s.Generation, s.Epoch = attestd.Risk(45), 9, 9 }, 77)
	after := w.stands(workload)
	if after.Tier != attestd.TierMedium || after.Epoch == before.Epoch {
		t.Errorf("with one of 200 at 45 it stands as %+v", after)
	}
	w.hold(workload)
	if got := w.stands(workload); got.State != attestd.StateQuarantined {
		t.Errorf("a held name on many nodes stands as %+v", got)
	}
}

func BenchmarkStands(b *testing.B) {
	w := newWorld(b, nil)
	w.publish(nil, 1, 2, 3)
	w.on(1, 2, 3)
	at := w.clock()
	b.ReportAllocs()
	for b.Loop() {
		w.office.Stands(workload, at)
	}
}

// TestManySetsOfManyNodesStand: more of them than are put together beforehand are as attested as others.
func TestManySetsOfManyNodesStand(t *testing.T) {
	w := newWorld(t, nil)
	const ids, each = 300, 65
	all := make([]int, ids+each)
	whole := wire.Map{At: w.clock()}
	for i := range all {
		all[i] = i + 1
		whole.Agents = append(whole.Agents, wire.Agent{ID: string(node(i + 1).ID), Type: "attestd"})
	}
	w.publish(nil, all...)
	name := func(i int) string { return fmt.Sprintf("%s-%d", workload, i) }
	for i := range ids {
		for k := range each {
			whole.Entries = append(whole.Entries, entry(name(i), string(node(i+k+1).ID)))
		}
	}
	must(w, w.office.SetMap(whole))
	for range 2 {
		for i := range ids {
			if got := w.stands(subject.ID(name(i))); !got.Attested || got.Tier != attestd.TierLow {
				t.Fatalf("caller %d stands as %+v", i, got)
			}
		}
	}
}

// TestACallerOfABannedNodeIsHeld, and not only not attested: what its machine was banned for is said.
func TestACallerOfABannedNodeIsHeld(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(nil, 1)
	w.on(1)
	w.hold(node(1).ID)
	whole := wire.Map{At: w.clock(), Entries: []wire.Entry{entry(workload, string(node(1).ID))},
		Agents: []wire.Agent{{ID: string(node(1).ID), Type: "attestd", Banned: true}}}
	must(t, w.office.SetMap(whole))
	if got := w.stands(workload); got.Attested || got.State != attestd.StateQuarantined {
		t.Errorf("its machine is banned for a hold: %+v", got)
	}
}
