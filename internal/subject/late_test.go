package subject_test

import (
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// TestDeadlines walks a trusted subject past its deadline and its grace.
func TestDeadlines(t *testing.T) {
	m := newMachine(t)
	m.draw("unknown -accepted-> trusted")
	due := m.row.DueAt
	if want := m.now.Add(time.Hour); !due.Equal(want) {
		t.Fatalf("due at %s, want %s", due, want)
	}
	if _, follows := subject.Late(*m.row, due.Add(-1), 0, rules); follows {
		t.Error("moved one nanosecond before")
	}
	write, follows := subject.Late(*m.row, due, 0, rules)
	if !follows {
		t.Fatal("nothing follows at the deadline")
	}
	m.carryOut(write)
	if m.state() != attestd.StateTrusted || !m.row.DueAt.Equal(due.Add(30*time.Minute)) {
		t.Errorf("%s, due at %s: want trusted and the grace", m.state(), m.row.DueAt)
	}
	if risk, _ := m.row.RiskAt(due); risk.Int() != 40 {
		t.Errorf("risk %s, want 10 of the evidence and 30 of being late", risk)
	}
	if _, follows = subject.Late(*m.row, m.row.DueAt.Add(-1), time.Minute, rules); follows {
		t.Error("the grace ends early")
	}
	write, _ = subject.Late(*m.row, m.row.DueAt, 0, rules)
	m.carryOut(write)
	if m.state() != attestd.StateSuspect {
		t.Errorf("%s after the grace, want suspect", m.state())
	}
	if _, follows = subject.Late(*m.row, due.Add(time.Hour*99), 0, rules); follows {
		t.Error("a suspect is moved again")
	}
	m.draw("suspect -accepted-> trusted")
	if risk, _ := m.row.RiskAt(m.now); risk.Int() != 10 || m.row.DueAt.Before(m.now) {
		t.Errorf("risk %s, due at %s after fresh evidence", risk, m.row.DueAt)
	}
}

func TestDeadlinesOfOtherKinds(t *testing.T) {
	ends := start.Add(20 * time.Minute)
	rows := map[string]struct {
		change func(*subject.Subject)
		at     time.Time
		ahead  time.Duration
		want   attestd.State
		moves  bool
	}{
		"a risk that being late makes too high takes no trust before the deadline": {
			func(s *subject.Subject) { s.Floor = attestd.Risk(60) }, start.Add(time.Hour - 5*time.Second),
			10 * time.Second, attestd.StateTrusted, false,
		},
		"and takes it at the deadline": {
			func(s *subject.Subject) { s.Floor = attestd.Risk(60) }, start.Add(time.Hour), 10 * time.Second,
			attestd.StateSuspect, true,
		},
		"attestd was down for longer than the grace": {
			func(*subject.Subject) {}, start.Add(3 * time.Hour), 0, attestd.StateSuspect, true,
		},
		"the first step comes a little early": {
			func(*subject.Subject) {}, start.Add(59*time.Minute + 55*time.Second), 10 * time.Second,
			attestd.StateTrusted, true,
		},
		"an enrolment that ended has no grace": {
			func(s *subject.Subject) { s.Trail.OwnedUntil, s.DueAt = ends, ends }, ends, 0,
			attestd.StateSuspect, true,
		},
		"an enrolment that is about to end": {
			func(s *subject.Subject) { s.Trail.OwnedUntil, s.DueAt = ends, ends }, ends.Add(-1), time.Minute,
			attestd.StateTrusted, false,
		},
		"a name that never gave evidence": {
			func(s *subject.Subject) { s.DueAt = time.Time{} }, start.Add(time.Hour * 99), 0,
			attestd.StateTrusted, false,
		},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.observe(m.seen())
			row.change(m.row)
			write, follows := subject.Late(*m.row, row.at, row.ahead, rules)
			m.carryOut(write)
			if follows != row.moves || m.state() != row.want {
				t.Errorf("follows %v, %s; want %v, %s", follows, m.state(), row.moves, row.want)
			}
		})
	}
}

// TestVerdictDoesNotOutliveTheEnrolment: the deadline is the end of the ownership where that is first.
func TestVerdictDoesNotOutliveTheEnrolment(t *testing.T) {
	m := newMachine(t)
	seen := m.seen()
	seen.Owner.ExpiresAt = start.Add(time.Minute)
	m.observe(seen)
	if !m.row.DueAt.Equal(seen.Owner.ExpiresAt) {
		t.Errorf("due at %s, want %s", m.row.DueAt, seen.Owner.ExpiresAt)
	}
	seen.At = seen.Owner.ExpiresAt // exactly then
	if m.observe(seen); m.state() != attestd.StateSuspect {
		t.Errorf("%s with an enrolment that ended, want suspect", m.state())
	}
}

// TestHysteresis: how many bad ones are grounds, and how many good ones make trusted again.
func TestHysteresis(t *testing.T) {
	m := newMachine(t)
	m.rules.Good, m.rules.Codes = 3, []subject.Code{subject.CodeEvidence, subject.CodeReappraise}
	m.draw("unknown -accepted-> trusted -rejected-> suspect")
	if len(m.last.Grounds) != 0 {
		t.Error("one bad verdict is grounds already")
	}
	m.draw("suspect -accepted-> suspect -rejected-> suspect")
	if len(m.last.Grounds) != 0 {
		t.Error("bad verdicts count over a good one")
	}
	m.draw("suspect -rejected-> suspect")
	if len(m.last.Grounds) != 1 || m.last.Grounds[0].Code != subject.CodeEvidence {
		t.Errorf("grounds %v after two bad ones in a row", m.last.Grounds)
	}
	m.draw("suspect -accepted-> suspect -accepted-> suspect -accepted-> trusted -reappraised-> suspect")
	if len(m.last.Grounds) != 1 || m.last.Grounds[0].Code != subject.CodeReappraise {
		t.Errorf("grounds %v after a re-appraisal", m.last.Grounds)
	}
}

// TestSignalsEndWithoutTrust: where a signal ends the risk falls, and the state stays.
func TestSignalsEndWithoutTrust(t *testing.T) {
	m := newMachine(t)
	m.observe(m.seen())
	m.row.State = attestd.StateSuspect
	m.row.Signals = []subject.Signal{{
		Code: subject.CodeKeyChurn, Group: subject.GroupKeys, Points: 70, Source: subject.SourceSelf,
		Until: start.Add(time.Hour),
	}}
	if _, follows := subject.Ended(*m.row, start.Add(time.Hour-1)); follows {
		t.Error("ended early")
	}
	write, follows := subject.Ended(*m.row, start.Add(time.Hour))
	epoch := m.row.Epoch
	m.carryOut(write)
	if risk, _ := m.row.RiskAt(start); !follows || m.state() != attestd.StateSuspect || risk.Int() != 10 {
		t.Errorf("follows %v, %s at risk %s", follows, m.state(), risk)
	}
	if m.row.Epoch != epoch+1 {
		t.Error("the risk fell and the epoch stayed")
	}
}
