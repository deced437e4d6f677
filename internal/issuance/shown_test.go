package issuance_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// TestWhatIsJudgedIsWhatIsGranted: what people are told agrees with what a grant would say, and costs
// nobody a grant.
func TestWhatIsJudgedIsWhatIsGranted(t *testing.T) {
	for _, row := range []struct {
		name  string
		world func(w *world)
		id    string
	}{
		{"a good node", func(w *world) { w.publish(nil, 1); w.on(1) }, workload},
		{"a suspect node", func(w *world) {
			w.publish(func(s *subject.Subject) { s.State = attestd.StateSuspect }, 1)
			w.on(1)
		}, workload},
		{"a held workload", func(w *world) { w.publish(nil, 1); w.on(1); w.hold(workload) }, workload},
		{"a node that attestd does not know", func(w *world) { w.on(1) }, workload},
		{"no entry", func(w *world) { must(w, w.office.SetMap(wire.Map{At: w.clock()})) }, workload},
		{"SPIRE cannot be asked", func(w *world) { w.broken = errors.New("gone") }, workload},
		{"entries that ask for too long", func(w *world) {
			w.publish(nil, 1)
			one := entry(workload, string(node(1).ID))
			one.X509TTL = 90_000
			must(w, w.office.SetMap(wire.Map{At: w.clock(), Entries: []wire.Entry{one}}))
		}, workload},
		{"evidence alone", func(*world) {}, "spiffe://example.org/enclave/blue/x"},
		{"SPIRE's own", func(*world) {}, server},
		{"another domain", func(*world) {}, "spiffe://example.com/x"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, nil)
			row.world(w)
			said := w.office.Judge(context.Background(), row.id)
			if n := w.outstanding(subject.ID(row.id)); n != 0 {
				t.Errorf("%d grants were counted", n)
			}
			_, granted := w.office.Grant(context.Background(), x509SVID(row.id))
			if classOf(said) != classOf(granted) {
				t.Errorf("judged: %v; granted: %v", said, granted)
			}
		})
	}
	w := newWorld(t, nil)
	w.publish(nil, 1)
	must(t, w.office.Judge(context.Background(), string(node(1).ID)))
	w.hold(node(1).ID)
	w.failed(w.office.Judge(context.Background(), string(node(1).ID)), attestd.ClassQuarantined)
	w.failed(w.office.Judge(context.Background(), "spiffe://example.org/spire/agent/x509pop/1"),
		attestd.ClassPolicyDeny)
	w = newWorld(t, func(c *issuance.Config) { c.Unattested = issuance.Observe })
	must(t, w.office.Judge(context.Background(), "spiffe://example.org/spire/agent/x509pop/1"))
}

func classOf(err error) attestd.Class {
	var caller *attestd.CallerError
	var undecided *attestd.UndecidedError
	switch {
	case errors.As(err, &caller):
		return caller.Class
	case errors.As(err, &undecided):
		return undecided.Class
	case err != nil:
		return "another error: " + attestd.Class(err.Error())
	}
	return ""
}

// TestWhatSPIREHasIsShown: an agent, what it can obtain over aliases, and ids in another case.
func TestWhatSPIREHasIsShown(t *testing.T) {
	w := newWorld(t, nil)
	if !w.office.Mapped().IsZero() || w.office.Below(node(1).ID, 9) != nil || w.office.Alike(workload) != nil {
		t.Error("without a map something is shown")
	}
	low := wire.Selector{Type: "attestd", Value: "tier:low"}
	const alias, other = "spiffe://example.org/alias/low", "spiffe://example.org/shop/other"
	must(t, w.office.SetMap(wire.Map{
		At: w.clock(), Agents: []wire.Agent{
			{ID: string(node(1).ID), Banned: true, ExpiresAt: 7, Selectors: []wire.Selector{low}},
			{ID: string(node(2).ID)},
		},
		Entries: []wire.Entry{
			entry(alias, server, low), entry(workload, alias), entry(other, string(node(1).ID)),
			entry("spiffe://example.org/shop/Third", other), entry("spiffe://example.org/none", server),
			entry("spiffe://example.org/foreign", string(node(2).ID)),
		},
	}))
	want := []string{"spiffe://example.org/shop/Third", other, workload}
	if got := w.office.Below(node(1).ID, 9); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := w.office.Below(node(1).ID, 2); !slices.Equal(got, want[:2]) {
		t.Errorf("got %q, want the first two", got)
	}
	got, there := w.office.Agent(string(node(1).ID))
	if !there || !got.Banned || got.ExpiresAt != 7 || len(got.Selectors) != 1 {
		t.Errorf("got %+v, %v", got, there)
	}
	if _, there := w.office.Agent(workload); there {
		t.Error("a workload is an agent")
	}
	if got := w.office.Alike("spiffe://example.org/shop/third"); !slices.Equal(got,
		[]string{"spiffe://example.org/shop/Third"}) {
		t.Errorf("alike: %q", got)
	}
	if !w.office.Mapped().Equal(w.clock()) {
		t.Errorf("mapped %s", w.office.Mapped())
	}
	if w.office.EvidenceAlone(workload) || !w.office.EvidenceAlone("spiffe://example.org/enclave/a/b") {
		t.Error("what is issued for evidence alone is told wrongly")
	}
}
