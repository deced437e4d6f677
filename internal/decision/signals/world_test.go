package signals_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/signals"
	"github.com/attestd/attestd/internal/decision/watch"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/revocation"
	"github.com/attestd/attestd/internal/subject"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

const (
	ranker = subject.ID("spiffe://example.org/agent/ranker")
	redOne = subject.ID("spiffe://example.org/agent/red-one")
)

// source is an enforcement point of some tenants.
type source struct {
	name    string
	tenants []string
}

func (s source) Name() string              { return s.name }
func (s source) Speaks(tenant string) bool { return slices.Contains(s.tenants, tenant) }

var (
	guard = source{"token:guard", []string{"blue"}}
	edr   = source{"spiffe://example.org/edr", []string{"blue", "red"}}
)

// world is the registry with its index, a desk, a watch and what quarantines: the parts are the
// real ones.
type world struct {
	t         *testing.T
	mu        sync.Mutex
	elapsed   time.Duration
	store     *registry.Store
	down      bool
	index     *live.Index
	authority *revocation.Authority
	desk      *signals.Desk
	watch     *watch.Watch
	spikes    *watch.Spikes
	notes     []audit.Record
	paged     []subject.Outcome
	tenants   map[subject.ID]string
	nodes     int // the risk of the nodes
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return start.Add(w.elapsed)
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.elapsed += d
}

// Subject and Write are the store, which can be down.
func (w *world) Subject(ctx context.Context, id subject.ID) (subject.Subject, bool, error) {
	if w.down {
		return subject.Subject{}, false, errDown
	}
	return w.store.Subject(ctx, id)
}

func (w *world) Write(ctx context.Context, write subject.Write) error {
	if w.down {
		return errDown
	}
	return w.store.Write(ctx, write)
}

var errDown = &attestd.UndecidedError{
	Class: attestd.ClassStoreUnavailable, Got: "a store that is down", Want: "one", Hint: "wait",
}

// Stands is how callers on good nodes stand: own signals add to what the nodes have.
func (w *world) Stands(id subject.ID, at time.Time) decision.Standing {
	own := w.index.Check(id, at)
	standing := decision.Standing{Tenant: w.tenants[id], State: attestd.StateTrusted, Epoch: own.Epoch}
	standing.Attested = standing.Tenant != ""
	risk := w.nodes
	if own.Known && own.Barred == "" {
		risk += own.Risk.Int()
	}
	if own.Barred != "" {
		standing.State, standing.Attested, risk = own.State, false, 100
	}
	standing.Risk = attestd.Risk(risk)
	standing.Tier = standing.Risk.Tier()
	return standing
}

func (w *world) Sequence() uint64 { return w.index.Sequence() }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, index: live.New(), nodes: 10,
		tenants: map[subject.ID]string{ranker: "blue", redOne: "red"},
	}
	clock := registry.NewClock(w.now, func() time.Duration { return w.now().Sub(start) })
	dir := t.TempDir()
	var err error
	w.store, err = registry.Open(t.Context(), registry.Config{
		Path: filepath.Join(dir, "attestd.db"), Clock: clock, Index: w.index,
		Limits: registry.Limits{
			Outstanding: 100, PerTenant: 100, PerSource: 100, Appraisals: 100, KeepAppraisals: time.Hour,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	w.authority, err = revocation.New(revocation.Config{
		Store: w.store, Index: w.index, Now: w.now, TrustDomain: "example.org",
		JournalPath: filepath.Join(dir, "direct.journal"), Logger: logger,
		Rules: revocation.Rules{
			Rules: subject.Rules{Reattest: time.Hour, Grace: time.Hour, Bad: 1, Good: 1},
			Mode:  subject.ModeOff, Spikes: subject.ModeOn, PerHour: 2,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.authority.Close(); err != nil {
			t.Error(err)
		}
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	w.spikes, err = watch.NewSpikes(watch.SpikesConfig{
		Quarantine: w.authority.Spike, Now: w.now, Logger: logger,
		Page: func(_ subject.Grounds, outcome subject.Outcome) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.paged = append(w.paged, outcome)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.desk, err = signals.New(w.config())
	if err != nil {
		t.Fatal(err)
	}
	w.watch, err = watch.New(watch.Config{
		Rate: 1000, Burst: 1000, Subjects: 1 << 10, Bounds: watch.StandardBounds(), Sink: w.desk, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) config() signals.Config {
	return signals.Config{
		Store: w, Standings: w, Fades: w.authority.Fades, Spike: w.spikes.Raise, Now: w.now,
		Bounds: signals.StandardBounds(), Note: func(record audit.Record) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.notes = append(w.notes, record)
		},
	}
}

// report is a report in order.
func report(id string, about subject.ID, kind string, percent int) signals.Report {
	return signals.Report{ID: id, Subject: string(about), Kind: kind, Confidence: signals.Sure(percent)}
}

func (w *world) take(from source, one signals.Report) signals.Receipt {
	w.t.Helper()
	receipt, err := w.desk.Take(w.t.Context(), from, one)
	if err != nil {
		w.t.Fatal(err)
	}
	return receipt
}

// settle runs what runs beside the questions until done holds.
func (w *world) settle(done func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	var all sync.WaitGroup
	all.Go(func() { _ = w.watch.Run(ctx) })
	all.Go(func() { _ = w.spikes.Run(ctx) })
	defer all.Wait()
	defer cancel()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Error("it does not settle")
			return
		}
	}
}

// ask is a question of the caller, at how it stands now, with what the gates and policies would say
// to it.
func (w *world) ask(tenant string) (decision.Findings, *decision.Result) {
	in := &decision.Input{
		At: w.now(), Enforcer: guard.name, Source: netip.MustParseAddr("192.0.2.7"),
		Who:      decision.Who{ID: ranker, Method: decision.MethodJWT, Credential: "c0ffee"},
		Standing: w.Stands(ranker, w.now()),
		Resource: decision.Resource{Type: "index", ID: "vectors", Tenant: tenant},
	}
	found := w.watch.Before(in)
	result := &decision.Result{Allow: true}
	deny := func(code decision.Code) { result = &decision.Result{Reasons: []decision.Reason{{Code: code}}} }
	switch {
	case in.Standing.State == attestd.StateQuarantined:
		deny(decision.CodeQuarantined)
	case in.Standing.Tier.Verdict() != attestd.VerdictAccepted:
		deny(decision.CodeRiskSpike)
		w.spikes.Spike(in)
	case found.Throttled:
		deny(decision.CodeThrottled)
	case tenant != in.Standing.Tenant:
		deny(decision.CodeTenantMismatch)
	}
	w.watch.After(in, result)
	return found, result
}

var _ http.Handler = (*signals.Handler)(nil)
