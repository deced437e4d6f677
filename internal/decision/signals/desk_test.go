package signals_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/signals"
	"github.com/attestd/attestd/internal/subject"
)

func classOf(err error) attestd.Class {
	var caller *attestd.CallerError
	var undecided *attestd.UndecidedError
	switch {
	case errors.As(err, &caller):
		return caller.Class
	case errors.As(err, &undecided):
		return undecided.Class
	default:
		return ""
	}
}

// TestTheNextDecisionCountsASignal: what the receipt says of risk, epoch and sequence is what is
// read from then on.
func TestTheNextDecisionCountsASignal(t *testing.T) {
	w := newWorld(t)
	before := w.Sequence()
	got := w.take(guard, report("r1", ranker, "LLM01:2025", 80))
	standing := w.Stands(ranker, w.now())
	if got.Points != 24 || got.RiskBefore.Int() != 10 || got.RiskAfter.Int() != 34 || got.Kind != "prompt-injection" ||
		got.Epoch != standing.Epoch || got.Epoch == 0 || standing.Risk.Int() != 34 ||
		got.Sequence <= before || got.Sequence > w.Sequence() || got.OWASP[0] != "LLM01" || len(got.ATLAS) != 4 ||
		!got.Until.Equal(start.Add(time.Hour)) || got.Subject != ranker {
		t.Errorf("receipt %+v, standing %+v", got, standing)
	}
	row, found, err := w.store.Subject(t.Context(), ranker)
	if err != nil || !found || row.Tenant != "blue" || row.Format != "" || len(row.Signals) != 1 ||
		row.Signals[0].Source != guard.name {
		t.Errorf("row %+v, %t, %v", row, found, err)
	}
}

// TestARepetitionChangesNothing, and another report with its id is refused.
func TestARepetitionChangesNothing(t *testing.T) {
	w := newWorld(t)
	first := w.take(guard, report("r1", ranker, "LLM01", 80))
	w.pass(time.Minute)
	again := w.take(guard, report("r1", ranker, "LLM01", 80))
	if !again.Repeated || first.Repeated || again.Epoch != first.Epoch || !again.Until.Equal(first.Until) {
		t.Errorf("first %+v, again %+v", first, again)
	}
	if _, err := w.desk.Take(t.Context(), guard, report("r1", ranker, "LLM01", 81)); classOf(err) != attestd.ClassConflict {
		t.Errorf("another report with the id: %v", err)
	}
	if other := w.take(edr, report("r1", ranker, "host-compromise", 80)); other.Repeated {
		t.Error("another source's report with the id is taken for a repetition")
	}
	w.down = true
	if _, err := w.desk.Take(t.Context(), guard, report("r2", ranker, "ASI05", 50)); classOf(err) != attestd.ClassStoreUnavailable {
		t.Errorf("with the store down: %v", err)
	}
	w.down = false
	if late := w.take(guard, report("r2", ranker, "ASI05", 50)); late.Repeated || late.Points == 0 {
		t.Errorf("what was not taken is taken for a repetition: %+v", late)
	}
}

// TestNobodyReportsAnotherTenantsCallers: for one that is not there and for another tenant's the
// answer is the same, byte for byte, and nothing is written (neg: 188).
func TestNobodyReportsAnotherTenantsCallers(t *testing.T) {
	w := newWorld(t)
	var said []string
	for i, id := range []subject.ID{redOne, "spiffe://example.org/agent/none-one"} {
		_, err := w.desk.Take(t.Context(), guard, report(fmt.Sprint("r", i), id, "LLM01", 100))
		var caller *attestd.CallerError
		if !errors.As(err, &caller) || caller.Class != attestd.ClassForbidden {
			t.Fatalf("%s: %v", id, err)
		}
		said = append(said, strings.ReplaceAll(caller.Error()+caller.Hint, string(id), "ID"))
		if _, found, err := w.store.Subject(t.Context(), id); found || err != nil {
			t.Errorf("%s has a row: %v", id, err)
		}
	}
	if said[0] != said[1] {
		t.Errorf("another tenant's is told from what is not there:\n%s\n%s", said[0], said[1])
	}
	w.take(edr, report("r1", redOne, "LLM01", 100)) // it has a row now
	_, err := w.desk.Take(t.Context(), guard, report("r9", redOne, "LLM01", 100))
	if err == nil || !strings.HasPrefix(said[0], strings.ReplaceAll(err.Error(), string(redOne), "ID")) {
		t.Errorf("with a row: %v", err)
	}
	w.tenants[redOne] = "blue" // its machine was sold, and its row is red's yet
	if _, err := w.desk.Take(t.Context(), guard, report("r10", redOne, "LLM01", 100)); classOf(err) != attestd.ClassForbidden {
		t.Errorf("a row of another tenant: %v", err)
	}
	w.take(guard, report("r2", ranker, "LLM01", 50))
	w.tenants[ranker] = "red" // and the other way round
	if _, err := w.desk.Take(t.Context(), guard, report("r11", ranker, "LLM01", 100)); classOf(err) != attestd.ClassForbidden {
		t.Errorf("hardware of another tenant: %v", err)
	}
	w.take(edr, report("r2", ranker, "LLM01", 100))
	if len(w.notes) != 5 || w.notes[0].Outcome != "refused" || w.notes[0].Actor != guard.name {
		t.Errorf("notes %+v", w.notes)
	}
}

// TestSourcesAreBoundedEachAndTogether: one alone makes nobody's risk high, nor do all.
func TestSourcesAreBoundedEachAndTogether(t *testing.T) {
	w := newWorld(t)
	n := 0
	for _, kind := range subject.Kinds() {
		for _, from := range []source{guard, edr, {"token:third", []string{"blue"}}} {
			n++
			w.take(from, report(fmt.Sprint("r", n), ranker, string(kind.Code), 100))
			w.pass(time.Second)
		}
		if from := w.Stands(ranker, w.now()).Risk.Int() - w.nodes; from > subject.SourceCap {
			t.Fatalf("foreign signals add %d", from)
		}
	}
	if w.Stands(ranker, w.now()).Tier != attestd.TierMedium {
		t.Errorf("all sources together make a risk of %s", w.Stands(ranker, w.now()).Risk)
	}
	w = newWorld(t)
	w.take(guard, report("a", ranker, "LLM01", 100))
	over := w.take(guard, report("b", ranker, "ASI05", 100))
	if over.Points != 0 || !over.Capped || over.RiskAfter.Int() != 40 {
		t.Errorf("over its cap a source has %+v", over)
	}
}

// TestASourceThatReportsTooOftenIsRefused, and no other for it.
func TestASourceThatReportsTooOftenIsRefused(t *testing.T) {
	w := newWorld(t)
	taken := 0
	for i := range 100 {
		if _, err := w.desk.Take(t.Context(), guard, report(fmt.Sprint("r", i), ranker, "LLM09", 1)); err == nil {
			taken++
		} else if classOf(err) != attestd.ClassRateLimited {
			t.Fatal(err)
		}
	}
	if taken != 60 {
		t.Errorf("%d at once, want a tenth of a minute's", taken)
	}
	w.take(edr, report("r", ranker, "LLM09", 1))
	w.pass(time.Second)
	w.take(guard, report("later", ranker, "LLM09", 1))
}

// TestReportsBesideEachOtherAreAllTaken, on one row.
func TestReportsBesideEachOtherAreAllTaken(t *testing.T) {
	w := newWorld(t)
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			from := source{fmt.Sprint("token:s", i), []string{"blue"}}
			if _, err := w.desk.Take(t.Context(), from, report("r", ranker, "LLM09", 100)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	row, _, err := w.store.Subject(t.Context(), ranker)
	if err != nil || len(row.Signals) != 6 {
		t.Errorf("%d signals, %v", len(row.Signals), err)
	}
}

// TestASignalOnAHeldCallerLeavesItHeld.
func TestASignalOnAHeldCallerLeavesItHeld(t *testing.T) {
	w := newWorld(t)
	w.take(guard, report("a", ranker, "LLM01", 100))
	if err := w.desk.Native(t.Context(), subject.Sighting{
		ID: ranker, Tenant: "blue", Code: subject.CodeTenantPivot, At: w.now(),
	}); err != nil {
		t.Fatal(err)
	}
	w.settle(func() bool { return w.Stands(ranker, w.now()).State == attestd.StateQuarantined })
	w.take(edr, report("b", ranker, "host-compromise", 100))
	if state := w.Stands(ranker, w.now()).State; state != attestd.StateQuarantined {
		t.Errorf("it is %s", state)
	}
}

// TestNoSightingOfNobody is written.
func TestNoSightingOfNobody(t *testing.T) {
	w := newWorld(t)
	good := subject.Sighting{ID: ranker, Tenant: "blue", Code: subject.CodeDenialBurst, At: w.now()}
	for name, change := range map[string]func(*subject.Sighting){
		"no id":             func(s *subject.Sighting) { s.ID = "" },
		"no tenant":         func(s *subject.Sighting) { s.Tenant = "" },
		"a proof of a copy": func(s *subject.Sighting) { s.Code = subject.CodeClone },
		"no code":           func(s *subject.Sighting) { s.Code = "" },
	} {
		one := good
		change(&one)
		if err := w.desk.Native(t.Context(), one); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, found, _ := w.store.Subject(t.Context(), ranker); found {
		t.Error("something was written")
	}
}

// TestAPivotAndASignalQuarantine: an agent that somebody reports and that then asks for other
// tenants' data is denied for its risk, quarantined beside that, and refused at its next question.
func TestAPivotAndASignalQuarantine(t *testing.T) {
	w := newWorld(t)
	if _, result := w.ask("blue"); !result.Allow {
		t.Fatalf("a good caller is denied: %+v", result)
	}
	w.take(guard, report("r1", ranker, "LLM01", 90))
	if _, result := w.ask("blue"); !result.Allow {
		t.Fatalf("one signal denies: %+v", result)
	}
	w.ask("red")
	w.ask("green")
	w.settle(func() bool { return w.Stands(ranker, w.now()).State == attestd.StateQuarantined })
	if _, result := w.ask("blue"); result.Allow || result.Reasons[0].Code != decision.CodeQuarantined {
		t.Errorf("its next question: %+v", result)
	}
	w.settle(func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.paged) == 1 && w.paged[0] == subject.OutcomeLaid
	})
}

// TestAProvokedDenialAloneQuarantinesNobody: somebody makes an agent ask for other tenants' data,
// hundreds of times. It is denied each time, its risk rises to medium and it may ask less often;
// nobody takes it out.
func TestAProvokedDenialAloneQuarantinesNobody(t *testing.T) {
	w := newWorld(t)
	for i := range 500 {
		if _, result := w.ask([]string{"red", "green", "black"}[i%3]); result.Allow {
			t.Fatal("another tenant's data was given")
		}
		w.pass(100 * time.Millisecond)
		if i == 250 {
			w.settle(func() bool { return w.Stands(ranker, w.now()).Risk.Int() > w.nodes })
		}
	}
	for _, code := range []subject.Code{subject.CodeDenialBurst, subject.CodeTenantPivot, subject.CodeNovelScope} {
		if err := w.desk.Native(t.Context(), subject.Sighting{ID: ranker, Tenant: "blue", Code: code, At: w.now()}); err != nil {
			t.Fatal(err)
		}
	}
	standing := w.Stands(ranker, w.now())
	if standing.State != attestd.StateTrusted || standing.Tier != attestd.TierMedium {
		t.Fatalf("it is %s at risk %s", standing.State, standing.Risk)
	}
	w.pass(5 * time.Minute)
	if _, result := w.ask("blue"); !result.Allow {
		t.Errorf("its own data is denied: %+v", result)
	}
	// Also where its nodes alone are at medium risk: denials add, and do not quarantine.
	w = newWorld(t)
	w.nodes = 60
	if err := w.desk.Native(t.Context(), subject.Sighting{
		ID: ranker, Tenant: "blue", Code: subject.CodeDenialBurst, At: w.now(),
	}); err != nil {
		t.Fatal(err)
	}
	if _, result := w.ask("blue"); result.Allow || result.Reasons[0].Code != decision.CodeRiskSpike {
		t.Errorf("at risk 75: %+v", result)
	}
	w.settle(func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.paged) == 1 && w.paged[0] == subject.OutcomeOff
	})
	if standing := w.Stands(ranker, w.now()); standing.State != attestd.StateTrusted {
		t.Errorf("it is %s", standing.State)
	}
}

// TestADeskWithoutItsPartsIsNone.
func TestADeskWithoutItsPartsIsNone(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*signals.Config){
		"no store":       func(c *signals.Config) { c.Store = nil },
		"no standings":   func(c *signals.Config) { c.Standings = nil },
		"nobody fades":   func(c *signals.Config) { c.Fades = nil },
		"no spikes":      func(c *signals.Config) { c.Spike = nil },
		"no notes":       func(c *signals.Config) { c.Note = nil },
		"no clock":       func(c *signals.Config) { c.Now = nil },
		"no cap":         func(c *signals.Config) { c.Bounds.Cap = 0 },
		"a cap of all's": func(c *signals.Config) { c.Bounds.Cap = subject.SourceCap },
		"no fading":      func(c *signals.Config) { c.Bounds.Fade = 0 },
		"no reports":     func(c *signals.Config) { c.Bounds.PerMinute = 0 },
	} {
		config := w.config()
		change(&config)
		if _, err := signals.New(config); classOf(err) != attestd.ClassConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := signals.NewHandler(nil, nil); classOf(err) != attestd.ClassConfig {
		t.Errorf("a handler of nothing: %v", err)
	}
}
