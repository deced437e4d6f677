package revocation_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/revocation"
	"github.com/attestd/attestd/internal/subject"
)

// TestSweepMovesTheOverdue in more than one batch: first their risk rises, then they are suspect.
func TestSweepMovesTheOverdue(t *testing.T) {
	const machines = 150
	w := newWorld(t, nil)
	for i := range machines {
		w.attest(w.seen(fmt.Sprintf("m%03d", i), "blue", 1))
	}
	sweep := func(want int) {
		t.Helper()
		if moved, err := w.authority.Sweep(t.Context()); err != nil || moved != want {
			t.Errorf("moved %d (%v), want %d", moved, err, want)
		}
	}
	sweep(0)
	w.pass(time.Hour - 5*time.Second)
	sweep(machines)
	w.pass(10 * time.Second)
	w.wantGrant("m000", true) // late, and within the grace
	sweep(0)
	w.pass(30 * time.Minute)
	w.wantGrant("m000", false)
	sweep(machines)
	w.wantState("m149", attestd.StateSuspect)
	sweep(0)
	w.attest(w.seen("m000", "blue", 1))
	w.wantGrant("m000", true)
}

// TestSweepWithAStoreThatIsDown says so, and the deadline holds all the same.
func TestSweepWithAStoreThatIsDown(t *testing.T) {
	w := newWorld(t, nil).fleet()
	w.store.writes.Store(true)
	w.pass(2 * time.Hour)
	if _, err := w.authority.Sweep(t.Context()); !errors.Is(err, errDown) {
		t.Errorf("%v", err)
	}
	w.wantGrant("alpha1", false)
}

// TestSignalsEnd: what counts for a day no longer does, and the state waits for evidence.
func TestSignalsEnd(t *testing.T) {
	w := newWorld(t, nil).fleet()
	s, _, err := w.store.Store.Subject(t.Context(), idOf("alpha1"))
	if err != nil {
		t.Fatal(err)
	}
	next := s
	next.State, next.Signals = attestd.StateSuspect, []subject.Signal{{
		Code: subject.CodeKeyChurn, Group: subject.GroupKeys, Points: 70, Source: subject.SourceSelf,
		At: w.now(), Until: w.now().Add(24 * time.Hour),
	}}
	write := subject.Write{Subjects: []subject.SubjectWrite{{Expect: s.Generation, Next: next}}}
	write.Audit = append(write.Audit, w.records("subject.evidence")[0])
	if err = w.store.Store.Write(t.Context(), write); err != nil {
		t.Fatal(err)
	}
	if n, err := w.authority.EndSignals(t.Context()); n != 0 || err != nil {
		t.Errorf("ended %d early (%v)", n, err)
	}
	w.pass(24 * time.Hour)
	if n, err := w.authority.EndSignals(t.Context()); n != 1 || err != nil {
		t.Errorf("ended %d (%v), want 1", n, err)
	}
	w.wantState("alpha1", attestd.StateSuspect)
	s, _, err = w.store.Store.Subject(t.Context(), idOf("alpha1"))
	if risk, _ := s.RiskAt(w.now()); err != nil || risk.Int() != 10 {
		t.Errorf("risk %s (%v), want 10", risk, err)
	}
}

// TestRunDrainsAtOnce: a direct hold wakes Run, which ends with its context.
func TestRunDrainsAtOnce(t *testing.T) {
	w := newWorld(t, nil).fleet()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.authority.Run(ctx) }()
	wanted := order(string(idOf("alpha1")))
	wanted.Direct = true
	if _, err := w.authority.Quarantine(t.Context(), anna, wanted); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(4 * time.Second); w.authority.Journaled() > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the journal is not drained within 4 s")
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	w.wantState("alpha1", attestd.StateQuarantined)
}

// TestQuarantineAgainstEvidence: however evidence and orders fall together, what was acknowledged
// holds, and a machine that gives evidence without end does not put an order off. neg: 180
func TestQuarantineAgainstEvidence(t *testing.T) {
	w := newWorld(t, nil).fleet()
	for round := range 6 {
		name := fmt.Sprintf("race%02d", round)
		w.attest(w.seen(name, "blue", 1))
		var group sync.WaitGroup
		stop := make(chan struct{})
		for range 4 {
			group.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						w.try(w.seen(name, "blue", 1))
					}
				}
			})
		}
		if _, err := w.authority.Quarantine(t.Context(), anna, order(string(idOf(name)))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for range 50 {
			w.wantGrant(name, false)
		}
		close(stop)
		group.Wait()
		w.wantState(name, attestd.StateQuarantined)
	}
}

// try carries evidence out once; losing against something else is not an error here.
func (w *world) try(seen subject.Observation) {
	known, err := w.store.Store.Known(w.t.Context(), subject.Ask{
		ID: seen.ID, Instance: seen.Instance, Bars: seen.Keys(),
	})
	if err != nil {
		w.t.Error(err)
		return
	}
	reaction := subject.React(known, seen, w.rules.Rules)
	if reaction.Write.Empty() {
		return
	}
	err = w.store.Store.Write(w.t.Context(), reaction.Write)
	var moved *subject.MovedError
	var barred *subject.BarredError
	if err != nil && !errors.As(err, &moved) && !errors.As(err, &barred) {
		w.t.Error(err)
	}
}

// TestConfigurationsThatAreRefused: nothing of an authority is optional.
func TestConfigurationsThatAreRefused(t *testing.T) {
	w := newWorld(t, nil)
	rows := map[string]func(*revocation.Config){
		"no store":            func(c *revocation.Config) { c.Store = nil },
		"no index":            func(c *revocation.Config) { c.Index = nil },
		"no clock":            func(c *revocation.Config) { c.Now = nil },
		"no logger":           func(c *revocation.Config) { c.Logger = nil },
		"no trust domain":     func(c *revocation.Config) { c.TrustDomain = "" },
		"no journal":          func(c *revocation.Config) { c.JournalPath = "" },
		"no deadline":         func(c *revocation.Config) { c.Rules.Reattest = 0 },
		"no grace":            func(c *revocation.Config) { c.Rules.Grace = 0 },
		"no cap":              func(c *revocation.Config) { c.Rules.PerHour = 0 },
		"no mode":             func(c *revocation.Config) { c.Rules.Mode = "" },
		"a folder for a file": func(c *revocation.Config) { c.JournalPath = w.dir },
	}
	for name, change := range rows {
		t.Run(name, func(t *testing.T) {
			config := w.config()
			config.JournalPath += ".other"
			change(&config)
			authority, err := revocation.New(config)
			if authority != nil {
				t.Error("an authority beside an error")
			}
			wantClass(t, err, attestd.ClassConfig)
		})
	}
}
