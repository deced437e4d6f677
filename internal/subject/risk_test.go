package subject_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

func drawSignal(t *rapid.T, name string) subject.Signal {
	signal := subject.Signal{
		Code: subject.Code(rapid.SampledFrom([]string{"clone", "overdue", "two-keys", "operator"}).
			Draw(t, name+" code")),
		Group: attestd.Group(rapid.SampledFrom([]string{"copy", "late", "keys", "identity"}).
			Draw(t, name+" group")),
		Points: rapid.IntRange(-10, 120).Draw(t, name+" points"),
		Source: rapid.SampledFrom([]string{subject.SourceSelf, "edr", "siem"}).Draw(t, name+" source"),
		At:     start,
	}
	if rapid.Bool().Draw(t, name+" ends") {
		signal.Until = start.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, name+" until")) * time.Hour)
	}
	return signal
}

func drawSignals(t *rapid.T) []subject.Signal {
	signals := make([]subject.Signal, rapid.IntRange(0, 8).Draw(t, "signals"))
	for i := range signals {
		signals[i] = drawSignal(t, "signal")
	}
	return signals
}

// TestRiskIsMonotone: one signal more, or more points, never lowers the risk; neither does a higher
// floor.
func TestRiskIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		floor := rapid.IntRange(0, 100).Draw(t, "floor")
		signals := drawSignals(t)
		before, _ := subject.Weigh(attestd.Risk(floor), signals, start)
		more := append(slices.Clone(signals), drawSignal(t, "one more"))
		if after, _ := subject.Weigh(attestd.Risk(floor), more, start); after.Int() < before.Int() {
			t.Fatalf("%d after one more signal, %d before", after.Int(), before.Int())
		}
		if len(signals) > 0 {
			worse := slices.Clone(signals)
			worse[rapid.IntRange(0, len(worse)-1).Draw(t, "which")].Points += 7
			if after, _ := subject.Weigh(attestd.Risk(floor), worse, start); after.Int() < before.Int() {
				t.Fatalf("%d with more points, %d before", after.Int(), before.Int())
			}
		}
		if after, _ := subject.Weigh(attestd.Risk(floor+5), signals, start); after.Int() < before.Int() {
			t.Fatalf("%d over a higher floor, %d before", after.Int(), before.Int())
		}
	})
}

// TestRiskSumsToItsReasons: the points of the reasons are the risk, up to 100; each group counts once;
// others than attestd add no more than their cap; the order of signals does not matter.
func TestRiskSumsToItsReasons(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		floor := rapid.IntRange(0, 100).Draw(t, "floor")
		signals := drawSignals(t)
		given := slices.Clone(signals)
		risk, reasons := subject.Weigh(attestd.Risk(floor), signals, start)
		if !slices.Equal(signals, given) {
			t.Fatal("the signals were written to")
		}
		sum := 0
		groups := map[attestd.Group]int{}
		for i, reason := range reasons {
			sum += reason.Points
			groups[reason.Group]++
			if reason.Points <= 0 || reason.Effect != attestd.EffectScored || reason.Remedy == "" {
				t.Fatalf("reason %+v", reason)
			}
			if i > 0 && reasons[i-1].Points < reason.Points {
				t.Fatal("not the worst first")
			}
		}
		if risk.Int() != min(100, sum) {
			t.Fatalf("risk %d, reasons sum to %d", risk.Int(), sum)
		}
		for group, count := range groups {
			if count > 1 {
				t.Fatalf("group %s counts %d times", group, count)
			}
		}
		slices.Reverse(signals)
		if other, _ := subject.Weigh(attestd.Risk(floor), signals, start); other != risk {
			t.Fatalf("%d in another order, %d in this", other.Int(), risk.Int())
		}
		foreign := slices.DeleteFunc(slices.Clone(signals), func(s subject.Signal) bool {
			return s.Source == subject.SourceSelf
		})
		if alone, _ := subject.Weigh(attestd.Risk(0), foreign, start); alone.Int() > subject.SourceCap {
			t.Fatalf("other sources alone add %d", alone.Int())
		}
	})
}

func TestSignalsEndAtTheirTime(t *testing.T) {
	signal := subject.Signal{Points: 50, Source: subject.SourceSelf, Until: start}
	rows := map[string]struct {
		at   time.Time
		want int
	}{
		"one nanosecond before": {start.Add(-1), 50},
		"exactly then":          {start, 0},
		"after":                 {start.Add(1), 0},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			got, _ := subject.Weigh(attestd.Risk(0), []subject.Signal{signal}, row.at)
			if got.Int() != row.want {
				t.Errorf("risk %d, want %d", got.Int(), row.want)
			}
		})
	}
}

// TestEpochRisesOnlyWhereADecisionCanChange counts epochs over what happens in an ordinary life.
func TestEpochRisesOnlyWhereADecisionCanChange(t *testing.T) {
	m := newMachine(t)
	rows := []struct {
		word  string
		rises bool
	}{
		{"accepted", true}, {"accepted", false}, {"accepted", false}, {"unproven", false},
		{"risky", true}, {"risky", false}, {"late", true}, {"accepted", true},
		{"rejected", true}, {"rejected", false}, {"quarantine", true}, {"accepted", false},
		{"quarantine", false}, {"reborn", false}, {"release", true}, {"accepted", true},
	}
	for i, row := range rows {
		before := uint64(0)
		if m.row != nil {
			before = m.row.Epoch
		}
		if err := m.do(row.word); err != nil {
			t.Fatal(err)
		}
		if rises := m.row.Epoch > before; rises != row.rises {
			t.Errorf("step %d, %s: epoch %d to %d, rises %v", i+1, row.word, before, m.row.Epoch, row.rises)
		}
		if m.row.Epoch > before+1 {
			t.Errorf("step %d: the epoch jumps from %d to %d", i+1, before, m.row.Epoch)
		}
	}
}

// TestZeroSubjectIsAtFullRisk: what was never computed is the worst there is.
func TestZeroSubjectIsAtFullRisk(t *testing.T) {
	var zero subject.Subject
	if risk, _ := zero.RiskAt(start); risk.Int() != 100 || zero.TierAt(start) != attestd.TierUnknown {
		t.Errorf("risk %s, tier %s", risk, zero.TierAt(start))
	}
	held := subject.Subject{State: attestd.StateQuarantined, Floor: attestd.Risk(0)}
	if risk, reasons := held.RiskAt(start); risk.Int() != 100 || len(reasons) == 0 {
		t.Errorf("a held subject is at risk %s", risk)
	}
}
