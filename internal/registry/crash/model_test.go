package crash_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
)

// wide limits nothing that a test does.
var wide = registry.Limits{
	Outstanding: 1 << 20, PerTenant: 1 << 20, PerSource: 1 << 20, Appraisals: 1 << 20,
	KeepAppraisals: time.Hour,
}

func openStore(ctx context.Context, path string, index registry.Index) (*registry.Store, error) {
	return registry.Open(ctx, registry.Config{
		Path: path, Clock: registry.SystemClock(), Limits: wide, Index: index,
	})
}

// machine is the n-th subject, never seen; four share a host.
func machine(n int) subject.Subject {
	instance := attestd.Handle{Kind: attestd.HandleInstance, Value: fmt.Sprintf("%064x", n)}
	id, err := subject.AgentID("example.org", attestd.FormatTPM, instance)
	if err != nil {
		panic(err)
	}
	return subject.Subject{
		ID: id, Tenant: "default", Format: attestd.FormatTPM, Instance: instance,
		Boot: fmt.Sprintf("boot-%d", n), Host: fmt.Sprintf("host-%d", n/4),
		Ownership: subject.MethodInventory, Floor: attestd.Risk(10),
	}
}

// write is a step with its record.
func write(now time.Time, action string) subject.Write {
	return subject.Write{Audit: []audit.Record{{
		At: now, Actor: "test", Tenant: "default", Action: action, Outcome: "done",
	}}}
}

// world is what many workers do at once to one registry.
type world struct {
	store *registry.Store
	index *live.Index
	clock atomic.Int64
	marks atomic.Int64
	left  atomic.Int64

	mu sync.Mutex
	history
	done map[string]int
}

const crowd = 64

// worker does one thing after another until all is done.
func (w *world) worker(ctx context.Context, seed uint64) error {
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // repeatable
	var all []seen
	done := map[string]int{}
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen = append(w.seen, all...)
		for what, n := range done {
			w.done[what] += n
		}
	}()
	for w.left.Add(-1) >= 0 {
		one := machine(random.IntN(crowd))
		what, err := "", error(nil)
		switch dice := random.IntN(1000); {
		case dice < 450:
			what = "grant"
			all = append(all, w.ask(one.ID, true))
		case dice < 600:
			what = "check"
			all = append(all, w.ask(one.ID, false))
		case dice < 800:
			what, err = "observe", w.observe(ctx, one)
		case dice < 880:
			what, err = "quarantine", w.hold(ctx, one, attestd.StateQuarantined)
		case dice < 960:
			what, err = "release", w.release(ctx, one)
		case dice < 980:
			what, err = "host quarantine", w.holdHost(ctx, one)
		case dice < 999:
			what, err = "host release", w.releaseHost(ctx, one)
		case random.IntN(20) == 0: // of a few, so that not all end revoked
			what, err = "revoke", w.hold(ctx, machine(random.IntN(4)), attestd.StateRevoked)
		}
		var moved *subject.MovedError
		var barred *subject.BarredError
		switch {
		case err == nil:
			done[what]++
		case errors.As(err, &moved), errors.As(err, &barred):
			done[what+", refused"]++
		default:
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

func (w *world) ask(id subject.ID, grant bool) seen {
	one := seen{id: id, asked: grant, began: w.clock.Add(1)}
	if grant {
		standing, err := w.index.Grant(id, 3600, "x509-svid", w.store.Now())
		one.standing, one.granted = standing, err == nil
	} else {
		one.standing = w.index.Check(id, w.store.Now())
	}
	one.end = w.clock.Add(1)
	return one
}

// carryOut writes, and notes the acknowledgement.
func (w *world) carryOut(ctx context.Context, step subject.Write, mark string) error {
	if err := w.store.Write(ctx, step); err != nil {
		return err
	}
	at := w.clock.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acknowledged = append(w.acknowledged, acknowledged{mark, at})
	return nil
}

func (w *world) known(ctx context.Context, one subject.Subject) (subject.Known, error) {
	return w.store.Known(ctx, subject.Ask{ID: one.ID, Bars: keysOf(one)})
}

func (w *world) mark() string { return strconv.FormatInt(w.marks.Add(1), 10) }

// observe is a verdict that was accepted: it is decided on what is known, and may come too late.
func (w *world) observe(ctx context.Context, one subject.Subject) error {
	known, err := w.known(ctx, one)
	if err != nil {
		return err
	}
	if known.Subject != nil && subject.Barred(known.Subject.State) {
		return &subject.BarredError{Bar: subject.Bar{State: known.Subject.State}}
	}
	now, mark := w.store.Now(), w.mark()
	step := write(now, "verify")
	step.Unbarred = keysOf(one)
	if known.Subject != nil {
		one = *known.Subject
	}
	one.State, one.AppraisalID, one.DueAt = attestd.StateTrusted, mark, now.Add(time.Hour)
	one.EvidenceAt = now
	step.Subjects = []subject.SubjectWrite{{Expect: one.Generation, Next: one}}
	return w.carryOut(ctx, step, mark)
}

func bar(on subject.Key, state attestd.State, mark string, now time.Time) *subject.Bar {
	return &subject.Bar{
		Key: on, State: state, Tenant: "default", Code: subject.CodeOperator, Text: mark, By: "ann", At: now,
	}
}

// hold bars subject and instance, and counts the grants when it is acknowledged.
func (w *world) hold(ctx context.Context, one subject.Subject, state attestd.State) error {
	known, err := w.known(ctx, one)
	if err != nil || known.Subject == nil || known.Subject.State >= state {
		return err
	}
	now, mark := w.store.Now(), w.mark()
	step := write(now, "quarantine")
	next := *known.Subject
	next.State, next.AppraisalID = state, mark
	step.Subjects = []subject.SubjectWrite{{Expect: next.Generation, Next: next}}
	for _, on := range keysOf(next)[:2] {
		step.Bars = append(step.Bars, subject.BarWrite{
			Key: on, Expect: generation(known.Bars, on), Next: bar(on, state, mark, now),
		})
	}
	if err := w.carryOut(ctx, step, mark); err != nil {
		return err
	}
	count := receipt{id: one.ID, mark: mark, began: w.clock.Add(1)}
	count.grants, _ = w.index.Outstanding(one.ID, w.store.Now())
	count.end = w.clock.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.receipts = append(w.receipts, count)
	return nil
}

func generation(bars []subject.Bar, on subject.Key) uint64 {
	for _, one := range bars {
		if one.Key == on {
			return one.Generation
		}
	}
	return 0
}

func (w *world) release(ctx context.Context, one subject.Subject) error {
	known, err := w.known(ctx, one)
	if err != nil || known.Subject == nil || known.Subject.State != attestd.StateQuarantined {
		return err
	}
	mark := w.mark()
	step := write(w.store.Now(), "release")
	next := *known.Subject
	next.State, next.AppraisalID = attestd.StateSuspect, mark
	step.Subjects = []subject.SubjectWrite{{Expect: next.Generation, Next: next}}
	for _, on := range keysOf(next)[:2] {
		if expect := generation(known.Bars, on); expect != 0 {
			step.Bars = append(step.Bars, subject.BarWrite{Key: on, Expect: expect})
		}
	}
	return w.carryOut(ctx, step, mark)
}

func (w *world) holdHost(ctx context.Context, one subject.Subject) error {
	on := keysOf(one)[3]
	known, err := w.known(ctx, one)
	if err != nil || generation(known.Bars, on) != 0 {
		return err
	}
	now, mark := w.store.Now(), w.mark()
	step := write(now, "quarantine")
	step.Bars = []subject.BarWrite{{Key: on, Next: bar(on, attestd.StateQuarantined, mark, now)}}
	return w.carryOut(ctx, step, mark)
}

func (w *world) releaseHost(ctx context.Context, one subject.Subject) error {
	on := keysOf(one)[3]
	known, err := w.known(ctx, one)
	if err != nil || generation(known.Bars, on) == 0 {
		return err
	}
	step := write(w.store.Now(), "release")
	step.Bars = []subject.BarWrite{{Key: on, Expect: generation(known.Bars, on)}}
	return w.store.Write(ctx, step)
}

// TestTheRegistryIsAsIfOneThingCameAfterAnother: whatever many do at once, each grant and each check is
// explained by the commits in their order, none is older than what had been acknowledged before it was
// asked for, and a receipt counts every grant from before it. neg: 172, 180
func TestTheRegistryIsAsIfOneThingCameAfterAnother(t *testing.T) {
	operations := 100_000
	if testing.Short() {
		operations = 20_000
	}
	if text := os.Getenv("ATTESTD_OPERATIONS"); text != "" {
		var err error
		if operations, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{index: live.New(), done: map[string]int{}}
	w.left.Store(int64(operations))
	record := &recorder{Index: w.index, clock: &w.clock}
	store, err := openStore(t.Context(), filepath.Join(t.TempDir(), "attestd.db"), record)
	if err != nil {
		t.Fatal(err)
	}
	w.store = store
	for n := range crowd {
		if err := w.observe(t.Context(), machine(n)); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	var workers sync.WaitGroup
	for seed := range uint64(64) {
		workers.Go(func() {
			if err := w.worker(t.Context(), seed); err != nil {
				t.Error(err)
			}
		})
	}
	workers.Wait()
	took := time.Since(began)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	w.publications = record.all
	found := w.violations()
	t.Logf("%d operations in %v, %d commits: %v", operations, took.Round(time.Millisecond),
		len(w.publications), w.done)
	granted := 0
	for _, one := range w.seen {
		if one.granted {
			granted++
		}
	}
	t.Logf("%d answers (%d grants given), %d receipts, %d acknowledgements: %d violations", len(w.seen),
		granted, len(w.receipts), len(w.acknowledged), len(found))
	if granted < operations/50 {
		t.Errorf("%d grants were given: the run shows too little", granted)
	}
	for _, one := range found[:min(len(found), 10)] {
		t.Errorf("violation: %s", one)
	}
	for _, what := range []string{"grant", "check", "observe", "quarantine", "release", "host quarantine"} {
		if w.done[what] < operations/200 {
			t.Errorf("%s happened %d times: the run shows too little", what, w.done[what])
		}
	}
}
