package subject_test

import (
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// answer is evidence as one of several that a machine has under way: asked for, quoted and taken in.
type answer struct {
	// asked, quoted and taken are seconds.
	asked, quoted, taken int
	resets               uint32
	boot                 string
	// noClock is evidence that has no TPM.
	noClock bool
}

func (m *machine) answers(list []answer) {
	for _, one := range list {
		at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
		m.now = at(one.taken)
		seen := m.seen()
		seen.Boot, seen.Asked = one.boot, at(one.asked)
		seen.Clock.Milliseconds = 1_000_000_000 + uint64(one.quoted)*1000 //nolint:gosec // small
		seen.Clock.Resets = one.resets
		if one.noClock {
			seen.Clock = nil
		}
		m.observe(seen)
	}
}

// TestEvidenceThatWasOvertaken shows that a machine with several answers under way is no copy of
// itself: a verifier under load takes them in in any order. Only what could not have been made before
// the other came in has gone back.
func TestEvidenceThatWasOvertaken(t *testing.T) {
	for name, row := range map[string]struct {
		answers []answer
		codes   []subject.Code
		// boot and clock that are remembered at the end.
		boot   string
		quoted int
	}{
		"two answers that change places, again and again": {
			[]answer{
				{0, 2, 5, 5, "i/5", false}, {0, 1, 6, 5, "i/5", false},
				{10, 12, 15, 5, "i/5", false}, {10, 11, 16, 5, "i/5", false},
			}, nil, "i/5", 12,
		},
		"an answer from before a reboot behind one from after it": {
			[]answer{
				{0, 1, 2, 5, "i/5", false}, {40, 41, 70, 6, "i/6", false}, {20, 21, 71, 5, "i/5", false},
				{100, 101, 102, 6, "i/6", false},
			}, nil, "i/6", 101,
		},
		"the same without a clock": {
			[]answer{
				{0, 1, 2, 0, "a", true}, {40, 41, 70, 0, "b", true}, {20, 21, 71, 0, "a", true},
				{100, 101, 102, 0, "b", true},
			}, nil, "b", 0,
		},
		"a clock that is further back than the challenge is old": {
			[]answer{{0, 300, 301, 5, "i/5", false}, {290, 100, 302, 5, "i/5", false}},
			[]subject.Code{subject.CodeClockBack}, "i/5", 100,
		},
		"an earlier boot whose clock went on is a copy however old its challenge is": {
			[]answer{
				{0, 1, 2, 5, "i/5", false}, {40, 41, 70, 6, "i/6", false}, {20, 60, 71, 5, "i/5", false},
			}, []subject.Code{subject.CodeClone}, "i/5", 60,
		},
		"an earlier boot without a clock that was asked for afterwards": {
			[]answer{
				{0, 1, 2, 0, "a", true}, {40, 41, 70, 0, "b", true}, {71, 72, 73, 0, "a", true},
			}, []subject.Code{subject.CodeClone}, "a", 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.answers(row.answers)
			m.wantCodes(row.codes)
			if m.row.Boot != row.boot {
				t.Errorf("boot %q, want %q", m.row.Boot, row.boot)
			}
			if clock := m.row.Trail.Clock; clock != nil {
				if got := int(clock.Milliseconds-1_000_000_000) / 1000; got != row.quoted { //nolint:gosec // small
					t.Errorf("clock at %d s, want %d", got, row.quoted)
				}
			}
		})
	}
}

// TestWhatWasOvertakenDecidesNothing: a policy that wants counters to go on rejects the earlier of two
// answers that changed places, and what was seen of the machine since counts. Nor does an answer that
// was kept back make a machine trusted again whose later evidence was rejected.
func TestWhatWasOvertakenDecidesNothing(t *testing.T) {
	const good, bad = attestd.VerdictAccepted, attestd.VerdictRejected
	for name, row := range map[string]struct {
		first, later, kept attestd.Verdict
		rounds             int
		want               attestd.State
	}{
		"a rejected answer behind an accepted one":                  {good, good, bad, 1, attestd.StateTrusted},
		"the same where trust takes two answers in a row":           {good, good, bad, 2, attestd.StateSuspect},
		"an accepted answer behind a rejected one":                  {good, bad, good, 1, attestd.StateSuspect},
		"an accepted answer behind a rejected one of a newcomer":    {bad, bad, good, 1, attestd.StateUnknown},
		"a rejected answer behind a rejected one, for good measure": {good, bad, bad, 1, attestd.StateSuspect},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.rules.Good = row.rounds
			for i, verdict := range []attestd.Verdict{row.first, row.later, row.kept} {
				taken := []int{2, 25, 26}[i]
				m.now = start.Add(time.Duration(taken) * time.Second)
				seen := m.seen()
				seen.Verdict, seen.Asked = verdict, start.Add(time.Duration([]int{0, 20, 10}[i])*time.Second)
				seen.Clock.Milliseconds = 1_000_000_000 + []uint64{1000, 21000, 11000}[i]
				m.observe(seen)
			}
			if m.row.State != row.want {
				t.Errorf("state %s, want %s", m.row.State, row.want)
			}
		})
	}
}

// TestTPMThatWasClearedInItsFirstHour shows that a machine which is set up anew, whose TPM counts clock
// and resets from zero and has run for longer since than it had before, is no proven copy.
func TestTPMThatWasClearedInItsFirstHour(t *testing.T) {
	for name, row := range map[string]struct {
		after time.Duration
		clock uint64
		code  subject.Code
	}{
		"it can have run that long since":    {20 * time.Minute, 900, subject.CodeClockBack},
		"it cannot have run that long since": {10 * time.Minute, 900, subject.CodeClone},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.steps([]step{
				{0, 4, 600, "i/4", 1, false, false}, {row.after, 1, row.clock, "i/1", 1, false, false},
			})
			m.wantCodes([]subject.Code{row.code})
		})
	}
}

func (m *machine) wantCodes(want []subject.Code) {
	m.t.Helper()
	var got []subject.Code
	for _, signal := range m.row.Signals {
		got = append(got, signal.Code)
	}
	if len(got) != len(want) || len(got) == 1 && got[0] != want[0] {
		m.t.Errorf("signals %v, want %v; state %s", m.row.Signals, want, m.row.State)
	}
	if len(want) == 0 && m.row.State != attestd.StateTrusted {
		m.t.Errorf("state %s, want trusted", m.row.State)
	}
}
