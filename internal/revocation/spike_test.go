package revocation_test

import (
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/revocation"
	"github.com/attestd/attestd/internal/subject"
)

const ranker = subject.ID("spiffe://example.org/agent/ranker")

func spikes(mode subject.Mode) func(*revocation.Rules) {
	return func(rules *revocation.Rules) { rules.Spikes = mode }
}

// see writes what a detector saw of a caller without hardware.
func (w *world) see(id subject.ID, codes ...subject.Code) {
	w.t.Helper()
	for _, code := range codes {
		group, points, lasts, found := subject.Behaviour(code)
		if !found {
			w.t.Fatalf("%s is no behaviour", code)
		}
		w.signal(id, subject.Signal{
			Code: code, Group: group, Points: points, Source: subject.SourceSelf, At: w.now(),
			Until: w.now().Add(lasts),
		})
	}
}

func (w *world) signal(id subject.ID, signal subject.Signal) {
	w.t.Helper()
	row, found, err := w.store.Store.Subject(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	known := &row
	if !found {
		known = nil
	}
	out := subject.Signalled(known, subject.Report{ID: id, Tenant: "blue", Signal: signal, Cap: 30})
	if err = w.store.Store.Write(w.t.Context(), out.Write); err != nil {
		w.t.Fatal(err)
	}
	w.authority.Fades(out.Next)
}

func (w *world) spike(id subject.ID, want subject.Outcome) {
	w.t.Helper()
	got, err := w.authority.Spike(w.t.Context(), subject.Grounds{ID: id, Tenant: "blue", Detail: "risk 85"})
	if err != nil || got != want {
		w.t.Errorf("a spike of %s: %q, %v; want %q", id, got, err, want)
	}
}

// TestASpikeQuarantinesTheNextQuestion: the caller's name is held, durably, and whoever reads its
// state after that reads a hold.
func TestASpikeQuarantinesTheNextQuestion(t *testing.T) {
	w := newWorld(t, spikes(subject.ModeOn))
	w.see(ranker, subject.CodeTenantPivot, subject.CodeTwoPlaces)
	w.spike(ranker, subject.OutcomeLaid)
	if state := w.index.Check(ranker, w.now()).State; state != attestd.StateQuarantined {
		t.Errorf("the caller is %s", state)
	}
	w.spike(ranker, subject.OutcomeHeld)
	w.restart()
	if state := w.index.Check(ranker, w.now()).State; state != attestd.StateQuarantined {
		t.Errorf("after a restart the caller is %s", state)
	}
	if records := w.records("quarantine"); len(records) != 1 || records[0].Detail["code"] != "risk-spike" {
		t.Errorf("records %+v", records)
	}
}

// TestAProvokedDenialAloneQuarantinesNobody, whatever the caller's nodes add to its risk.
func TestAProvokedDenialAloneQuarantinesNobody(t *testing.T) {
	w := newWorld(t, spikes(subject.ModeOn))
	w.see(ranker, subject.CodeDenialBurst)
	w.spike(ranker, subject.OutcomeOff)
	w.spike("spiffe://example.org/agent/never-seen", subject.OutcomeOff)
	w.spike("", subject.OutcomeOff)
	if len(w.records("quarantine")) != 0 {
		t.Error("a quarantine was recorded")
	}
	w.see(ranker, subject.CodeTwoPlaces)
	w.spike(ranker, subject.OutcomeLaid)
}

// TestWhatACallerAsksQuarantinesItNever, however many detectors saw it and on however risky a node: whoever
// can make it ask could take it out.
func TestWhatACallerAsksQuarantinesItNever(t *testing.T) {
	w := newWorld(t, spikes(subject.ModeOn))
	w.see(ranker, subject.CodeTenantPivot, subject.CodeDenialBurst, subject.CodeNovelScope)
	w.spike(ranker, subject.OutcomeOff)
	if s := w.index.Check(ranker, w.now()); s.State == attestd.StateQuarantined {
		t.Error("provoked questions alone quarantined it")
	}
}

// TestSpikesFollowTheirOwnMode, and not that of the automation on evidence.
func TestSpikesFollowTheirOwnMode(t *testing.T) {
	for _, row := range []struct {
		mode       subject.Mode
		once, more subject.Outcome
	}{
		{subject.ModeDryRun, subject.OutcomeDryRun, subject.OutcomeSaid},
		{subject.ModeOff, subject.OutcomeOff, subject.OutcomeOff},
		{"", subject.OutcomeOff, subject.OutcomeOff},
	} {
		t.Run("mode "+string(row.mode), func(t *testing.T) {
			w := newWorld(t, spikes(row.mode))
			w.see(ranker, subject.CodeTenantPivot, subject.CodeTwoPlaces)
			w.spike(ranker, row.once)
			w.spike(ranker, row.more)
			if standing := w.index.Check(ranker, w.now()); standing.Barred != "" {
				t.Errorf("the caller is %s", standing.State)
			}
		})
	}
	w := newWorld(t, nil)
	config := w.config()
	config.Rules.Spikes = "always"
	if _, err := revocation.New(config); err == nil {
		t.Error("an unknown mode is taken")
	}
}

// TestCapsOfSpikesAreOfTheSourceThatMadeThem: one that reports everybody takes out as many as its
// cap, and another's still count. Nobody over the cap is held, and nobody's risk is less by it.
func TestCapsOfSpikesAreOfTheSourceThatMadeThem(t *testing.T) {
	w := newWorld(t, spikes(subject.ModeOn))
	accuse := func(name, source string) subject.ID {
		id := subject.ID("spiffe://example.org/agent/" + name)
		w.see(id, subject.CodeTenantPivot)
		w.signal(id, subject.Signal{
			Code: "prompt-injection", Group: "prompt", Points: 30, Source: source, At: w.now(),
			Until: w.now().Add(time.Hour),
		})
		return id
	}
	for _, name := range []string{"a", "b"} {
		w.spike(accuse(name, "token:loud"), subject.OutcomeLaid)
	}
	over := accuse("c", "token:loud")
	w.spike(over, subject.OutcomeCapped)
	w.spike(accuse("d", "token:loud"), subject.OutcomeSaid)
	if standing := w.index.Check(over, w.now()); standing.Risk.Int() != 75 || standing.Barred != "" {
		t.Errorf("over the cap it is %s at risk %s", standing.State, standing.Risk)
	}
	w.spike(accuse("e", "token:calm"), subject.OutcomeLaid)
}

// TestASpikeWaitsForAStoreThatIsDown and quarantines nobody on a guess: the risk denies meanwhile.
func TestASpikeWaitsForAStoreThatIsDown(t *testing.T) {
	w := newWorld(t, spikes(subject.ModeOn))
	w.see(ranker, subject.CodeTenantPivot, subject.CodeTwoPlaces)
	w.store.reads.Store(true)
	if got, err := w.authority.Spike(t.Context(), subject.Grounds{ID: ranker}); err == nil || got != "" {
		t.Errorf("got %q, %v", got, err)
	}
	w.store.reads.Store(false)
	w.store.writes.Store(true)
	w.spike(ranker, subject.OutcomeLaid) // round the store, in the journal
	if state := w.index.Check(ranker, w.now()).State; state != attestd.StateQuarantined {
		t.Errorf("the caller is %s", state)
	}
}

// TestRiskFallsAsSignalsFade, in the row and in the index that decisions read, also of names
// without hardware and after a restart.
func TestRiskFallsAsSignalsFade(t *testing.T) {
	w := newWorld(t, nil)
	w.signal(ranker, subject.Signal{
		Code: "prompt-injection", Group: "prompt", Points: 20, Source: "token:guard", At: w.now(),
		Until: w.now().Add(2 * time.Hour), Fade: 30 * time.Minute,
	})
	want := func(points int) {
		t.Helper()
		if risk := w.index.Check(ranker, w.now()).Risk; risk.Int() != points {
			t.Errorf("risk %s, want %d", risk, points)
		}
	}
	fade := func(changed int) {
		t.Helper()
		if got, err := w.authority.Fade(t.Context()); err != nil || got != changed {
			t.Errorf("%d changed, %v; want %d", got, err, changed)
		}
	}
	want(20)
	fade(0)
	w.pass(31 * time.Minute)
	want(20) // until it is written it is as high as it was
	fade(1)
	want(10)
	w.pass(30 * time.Minute)
	fade(1)
	want(5)
	w.restart()
	w.pass(time.Hour)
	fade(0) // nobody remembers it but the store
	if got, err := w.authority.EndSignals(t.Context()); err != nil || got != 1 {
		t.Errorf("%d ended, %v", got, err)
	}
	want(0)
}
