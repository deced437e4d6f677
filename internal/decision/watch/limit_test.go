package watch_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/watch"
)

// questions asks as many at once as there are, and returns how many were let through.
func (w *world) questions(n int, make func() *decision.Input) (through int, last decision.Findings) {
	for range n {
		found := w.watch.Before(make())
		if !found.Looked {
			w.t.Fatal("nobody looked")
		}
		if !found.Throttled {
			through++
		}
		last = found
	}
	return through, last
}

// TestLimitsTightenWithRisk: rate 10 and burst 20 at low risk, a tenth of it at medium, nothing
// above, and nothing where the tier is not known.
func TestLimitsTightenWithRisk(t *testing.T) {
	for _, row := range []struct {
		points       int
		burst, after int
	}{
		{0, 20, 10}, {39, 20, 10}, {40, 2, 1}, {69, 2, 1}, {70, 0, 0}, {89, 0, 0}, {90, 0, 0}, {100, 0, 0},
	} {
		t.Run(fmt.Sprintf("risk %d", row.points), func(t *testing.T) {
			w := newWorld(t, nil)
			ask := func() *decision.Input { return at(w.ask("a"), row.points) }
			if got, last := w.questions(50, ask); got != row.burst || !last.Throttled || last.RetryAfter <= 0 {
				t.Errorf("%d at once, want %d; then %+v", got, row.burst, last)
			}
			w.pass(time.Second)
			if got, _ := w.questions(50, ask); got != row.after {
				t.Errorf("%d a second later, want %d", got, row.after)
			}
			w.pass(24 * time.Hour)
			if got, _ := w.questions(50, ask); got != row.burst {
				t.Errorf("%d a day later, want %d", got, row.burst)
			}
		})
	}
	w := newWorld(t, nil)
	unknown := func() *decision.Input {
		in := w.ask("u")
		in.Standing.Tier = attestd.TierUnknown
		return in
	}
	if got, _ := w.questions(3, unknown); got != 0 {
		t.Errorf("%d questions at an unknown tier", got)
	}
}

// TestRetryAfterIsWhenTheNextQuestionGoesThrough, and not before.
func TestRetryAfterIsWhenTheNextQuestionGoesThrough(t *testing.T) {
	for _, points := range []int{0, 50} {
		w := newWorld(t, nil)
		ask := func() *decision.Input { return at(w.ask("a"), points) }
		_, last := w.questions(50, ask)
		w.pass(last.RetryAfter - time.Millisecond)
		if got, _ := w.questions(1, ask); got != 0 {
			t.Error("it goes through too early")
		}
		w.pass(time.Millisecond)
		if got, _ := w.questions(2, ask); got != 1 {
			t.Errorf("%d go through at that time, want one", got)
		}
	}
}

// TestWhatWasUsedAtLowRiskIsUsedAtMedium, and the other way round: a change of tier refills
// nothing.
func TestWhatWasUsedAtLowRiskIsUsedAtMedium(t *testing.T) {
	w := newWorld(t, nil)
	w.questions(20, func() *decision.Input { return w.ask("a") })
	if got, _ := w.questions(5, func() *decision.Input { return at(w.ask("a"), 50) }); got != 0 {
		t.Errorf("%d questions after the burst was used", got)
	}
	if got, _ := w.questions(5, func() *decision.Input { return w.ask("a") }); got != 0 {
		t.Errorf("%d questions back at low risk", got)
	}
}

// TestASpikeIsOverWhenRiskIsLow and not with the next point: from 70 until below 40, or an hour
// after it was high last.
func TestASpikeIsOverWhenRiskIsLow(t *testing.T) {
	w := newWorld(t, nil)
	for _, row := range []struct {
		points int
		want   bool
	}{{50, true}, {75, false}, {69, false}, {40, false}, {39, true}, {69, true}, {95, false}, {45, false}} {
		w.pass(time.Minute)
		if got, _ := w.questions(1, func() *decision.Input { return at(w.ask("a"), row.points) }); got == 1 != row.want {
			t.Errorf("at risk %d it may ask: %t", row.points, got == 1)
		}
	}
	w.pass(time.Hour)
	if got, _ := w.questions(1, func() *decision.Input { return at(w.ask("a"), 45) }); got != 1 {
		t.Error("an hour after the spike a caller at medium risk may not ask")
	}
}

// TestAClockThatWasPutBackLeavesNobodyWaiting for longer than a burst takes.
func TestAClockThatWasPutBackLeavesNobodyWaiting(t *testing.T) {
	w := newWorld(t, nil)
	ask := func() *decision.Input { return w.ask("a") }
	w.questions(30, ask)
	w.pass(-24 * time.Hour)
	w.questions(1, ask)
	w.pass(3 * time.Second)
	if got, _ := w.questions(1, ask); got != 1 {
		t.Error("it waits for the clock of yesterday")
	}
}

// TestWhoeverIsForgottenStartsWithTheDebt: more callers than there is room for, all of whom have
// used up their limits, get no second burst by it.
func TestWhoeverIsForgottenStartsWithTheDebt(t *testing.T) {
	w := newWorld(t, func(c *watch.Config) { c.Subjects = 64 })
	ask := func() *decision.Input { return w.ask("spent") }
	w.questions(20, ask)
	for i := range 64 * 40 {
		name := fmt.Sprintf("other-%d", i)
		w.questions(25, func() *decision.Input { return w.ask(name) })
	}
	if got, _ := w.questions(20, ask); got != 0 {
		t.Errorf("%d questions after it was forgotten", got)
	}
	if n := w.watch.Counts().Subjects; n > 64 {
		t.Errorf("%d are remembered, want at most 64", n)
	}
	w.pass(time.Minute)
	if got, _ := w.questions(25, ask); got != 20 {
		t.Errorf("%d questions a minute later, want a burst", got)
	}
}

// TestWhoeverIsAtRestIsForgottenFirst: whom something counts against is remembered as long as there
// is anybody else.
func TestWhoeverIsAtRestIsForgottenFirst(t *testing.T) {
	w := newWorld(t, func(c *watch.Config) { c.Subjects = 64 * 16 })
	for i := range 8 {
		w.questions(1, func() *decision.Input { return at(w.ask(fmt.Sprintf("spiked-%d", i)), 80) })
	}
	w.pass(10 * time.Second)
	for i := range 64 * 64 {
		w.questions(1, func() *decision.Input { return w.ask(fmt.Sprintf("one-%d", i)) })
		w.pass(time.Millisecond * 100)
	}
	for i := range 8 {
		name := fmt.Sprintf("spiked-%d", i)
		if got, _ := w.questions(1, func() *decision.Input { return at(w.ask(name), 60) }); got != 0 {
			t.Errorf("the spike of %s was forgotten", name)
		}
	}
}
