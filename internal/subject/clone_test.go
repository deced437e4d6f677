package subject_test

import (
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// step is one piece of evidence in a row of them.
type step struct {
	after  time.Duration
	resets uint32
	// clock in seconds; 0 is no TPM.
	clock  uint64
	boot   string
	key    byte
	unsafe bool
	// bad evidence is rejected.
	bad bool
}

func (m *machine) steps(steps []step) {
	for _, one := range steps {
		m.now = m.now.Add(one.after)
		seen := m.seen()
		seen.Boot, seen.Key = one.boot, [32]byte{one.key}
		seen.Clock = nil
		if one.clock != 0 {
			seen.Clock = &subject.Clock{
				Milliseconds: one.clock * 1000, Safe: !one.unsafe, Resets: one.resets, Plain: one.boot != "",
			}
		}
		if one.bad {
			seen.Verdict, seen.Risk = attestd.VerdictRejected, attestd.Risk(100)
		}
		m.observe(seen)
	}
}

// TestCopiesAreSeen shows a machine and its copies, as their evidence comes in.
func TestCopiesAreSeen(t *testing.T) {
	const minute = time.Minute
	a, b := "i/5", "i/6"
	rows := map[string]struct {
		steps []step
		// codes of the signals at the end, and the state.
		codes []subject.Code
		state attestd.State
		// grounds for an automatic quarantine at the end.
		grounds []subject.Code
	}{
		"one machine that reboots": {
			[]step{{0, 5, 100, a, 1, false, false}, {minute, 6, 200, b, 2, false, false}}, nil,
			attestd.StateTrusted, nil,
		},
		"a boot that comes back after another one": {
			[]step{{0, 0, 0, a, 1, false, false}, {minute, 0, 0, b, 1, false, false}, {minute, 0, 0, a, 1, false, false}},
			[]subject.Code{subject.CodeClone}, attestd.StateSuspect, []subject.Code{subject.CodeClone},
		},
		"a boot that comes back with evidence that is rejected": {
			[]step{
				{0, 0, 0, a, 1, false, false}, {minute, 0, 0, b, 1, false, false},
				{minute, 0, 0, a, 1, false, true},
			},
			[]subject.Code{subject.CodeClone}, attestd.StateSuspect, []subject.Code{subject.CodeClone},
		},
		"resets that go back while the clock goes on": {
			[]step{{0, 6, 100, b, 1, false, false}, {minute, 5, 200, a, 1, false, false}},
			[]subject.Code{subject.CodeClone}, attestd.StateSuspect, []subject.Code{subject.CodeClone},
		},
		"a clock that goes back once is scored": {
			[]step{{0, 5, 9000, a, 1, false, false}, {minute, 6, 100, b, 1, false, false}},
			[]subject.Code{subject.CodeClockBack}, attestd.StateTrusted, nil,
		},
		"also with a new key in the owner hierarchy, whose resets say nothing": {
			[]step{{0, 5, 9000, "", 1, false, false}, {minute, 77, 100, "", 2, false, false}},
			[]subject.Code{subject.CodeClockBack}, attestd.StateTrusted, nil,
		},
		"a clock that goes back twice is a copy": {
			[]step{
				{0, 5, 9000, a, 1, false, false}, {minute, 5, 8000, a, 1, false, false},
				{minute, 5, 9100, a, 1, false, false}, {minute, 5, 8100, a, 1, false, false},
			},
			[]subject.Code{subject.CodeClockBack, subject.CodeClone}, attestd.StateSuspect,
			[]subject.Code{subject.CodeClone},
		},
		"once a day is no copy": {
			[]step{
				{0, 5, 9000, a, 1, false, false}, {minute, 6, 100, b, 1, false, false},
				{25 * time.Hour, 7, 50, "i/7", 1, false, false},
			},
			[]subject.Code{subject.CodeClockBack}, attestd.StateTrusted, nil,
		},
		"a power cut that the clock survived by some seconds": {
			[]step{{0, 5, 9000, a, 1, false, false}, {minute, 6, 8000, b, 1, true, false}}, nil,
			attestd.StateTrusted, nil,
		},
		"a clearing counts the same boots again": {
			[]step{
				{0, 5, 9000, a, 1, false, false}, {minute, 6, 9100, b, 1, false, false},
				{minute, 1, 10, "i/1", 1, false, false}, {time.Hour, 5, 90, a, 1, false, false},
			},
			[]subject.Code{subject.CodeClockBack}, attestd.StateTrusted, nil,
		},
		"a key that comes back within a boot": {
			[]step{
				{0, 5, 100, a, 1, false, false}, {2 * minute, 5, 300, a, 2, false, false},
				{2 * minute, 5, 500, a, 1, false, false},
			},
			[]subject.Code{subject.CodeTwoKeys}, attestd.StateTrusted, nil,
		},
		"three key changes a minute": {
			[]step{
				{0, 5, 100, a, 1, false, false}, {time.Second, 5, 101, a, 2, false, false},
				{time.Second, 5, 102, a, 3, false, false}, {58 * time.Second, 5, 160, a, 4, false, false},
			},
			[]subject.Code{subject.CodeKeyChurn}, attestd.StateSuspect, []subject.Code{subject.CodeKeyChurn},
		},
		"three key changes a minute, and then none for a while": {
			[]step{
				{0, 5, 100, a, 1, false, false}, {time.Second, 5, 101, a, 2, false, false},
				{time.Second, 5, 102, a, 3, false, false}, {58 * time.Second, 5, 160, a, 4, false, false},
				{6 * minute, 5, 520, a, 4, false, false},
			}, nil, attestd.StateTrusted, nil,
		},
		"three key changes in more than a minute": {
			[]step{
				{0, 5, 100, a, 1, false, false}, {time.Second, 5, 101, a, 2, false, false},
				{time.Second, 5, 102, a, 3, false, false}, {60 * time.Second, 5, 170, a, 4, false, false},
			}, nil, attestd.StateTrusted, nil,
		},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.steps(row.steps)
			var codes, grounds []subject.Code
			for _, signal := range m.row.Signals {
				codes = append(codes, signal.Code)
			}
			for _, one := range m.last.Grounds {
				grounds = append(grounds, one.Code)
				if one.Source != "192.0.2.1" || one.Tenant != "blue" || one.ID != machineID {
					t.Errorf("grounds %+v", one)
				}
			}
			slices.Sort(codes)
			if !slices.Equal(codes, row.codes) || m.state() != row.state || !slices.Equal(grounds, row.grounds) {
				t.Errorf("signals %v, %s, grounds %v; want %v, %s, %v", codes, m.state(), grounds,
					row.codes, row.state, row.grounds)
			}
		})
	}
}

// TestCopiesStayUntilAPersonEndsThem: a proof does not run out, and evidence does not end it.
func TestCopiesStayUntilAPersonEndsThem(t *testing.T) {
	m := newMachine(t)
	m.steps([]step{
		{0, 0, 0, "i/5", 1, false, false}, {time.Minute, 0, 0, "i/6", 1, false, false},
		{time.Minute, 0, 0, "i/5", 1, false, false}, {365 * 24 * time.Hour, 0, 0, "i/7", 1, false, false},
	})
	if m.state() != attestd.StateSuspect || len(m.last.Grounds) != 1 {
		t.Errorf("%s with grounds %v a year later, want suspect and the same", m.state(), m.last.Grounds)
	}
}

// TestTrailIsBounded: however long a machine lives, what is remembered of it does not grow.
func TestTrailIsBounded(t *testing.T) {
	m := newMachine(t)
	for i := range 100 {
		m.boot = i + 1
		seen := m.seen()
		seen.Key = [32]byte{byte(i)}
		m.now = m.now.Add(10 * time.Second)
		seen.At = m.now
		m.observe(seen)
	}
	trail := m.row.Trail
	if len(trail.Boots) != 8 || len(trail.KeyChanges) != 3 || len(m.row.Signals) > 16 {
		t.Errorf("%d boots, %d changes, %d signals", len(trail.Boots), len(trail.KeyChanges), len(m.row.Signals))
	}
}

func TestReborn(t *testing.T) {
	rows := map[string]struct {
		held, boot string
		want       bool
	}{
		"one reset later":              {"ek:a/4", "ek:a/5", true},
		"many resets later":            {"ek:a/9", "ek:a/10", true},
		"the counter wrapped":          {"ek:a/4294967295", "ek:a/0", true},
		"the same boot":                {"ek:a/4", "ek:a/4", false},
		"an earlier boot":              {"ek:a/5", "ek:a/4", false},
		"another report id":            {"00ff", "11ee", true},
		"no boot was known":            {"", "ek:a/5", false},
		"no boot is known":             {"ek:a/4", "", false},
		"neither is known":             {"", "", false},
		"another machine's boot count": {"ek:a/9", "ek:b/1", true},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			if got := subject.Reborn(row.held, row.boot); got != row.want {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}
