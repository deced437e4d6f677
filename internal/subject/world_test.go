package subject_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

const (
	machineID = subject.ID("spiffe://example.org/spire/agent/attestd/tpm/machine")
	instance  = "ek:0123456789abcdef"
)

var (
	start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	rules = subject.Rules{
		Reattest: time.Hour, Grace: 30 * time.Minute, Bad: 2, Good: 1,
		Codes: []subject.Code{
			subject.CodeClone, subject.CodeKeyChurn, subject.CodeReplay, subject.CodeCompromise,
		},
	}
)

// machine is one subject with its bars, and carries writes out as a registry must: compare and swap,
// and nothing through a bar.
type machine struct {
	t     *testing.T
	row   *subject.Subject
	bars  []subject.Bar
	now   time.Time
	boot  int
	rules subject.Rules
	// last is what the latest evidence led to.
	last   subject.Reaction
	events []subject.Event
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	return &machine{t: t, now: start, boot: 1, rules: rules}
}

func (m *machine) state() attestd.State {
	if m.row == nil {
		return attestd.StateUnknown
	}
	return m.row.State
}

// seen is good evidence of the machine as it is now.
func (m *machine) seen() subject.Observation {
	return subject.Observation{
		Proven: true, ID: machineID, Format: attestd.FormatTPM,
		Instance: attestd.Handle{Kind: attestd.HandleInstance, Value: instance},
		Boot:     fmt.Sprintf("%s/%d", instance, m.boot),
		Clock: &subject.Clock{
			Milliseconds: uint64(m.now.Sub(start).Milliseconds()) + 1_000_000_000, Safe: true,
			Resets: uint32(m.boot), Plain: true, //nolint:gosec // small
		},
		Verdict: attestd.VerdictAccepted, Risk: attestd.Risk(10), Tenant: "blue",
		Owner: subject.Ownership{
			Key:    subject.Key{Kind: "instance", Value: instance},
			Tenant: "blue", Method: subject.MethodInventory, Status: subject.StatusApproved,
		},
		Evidence: [32]byte{1, byte(m.now.Unix()), byte(m.now.Unix() >> 8)}, Key: [32]byte{7},
		AppraisalID: "a1", Source: "192.0.2.1", At: m.now,
	}
}

func (m *machine) observe(seen subject.Observation) subject.Reaction {
	m.t.Helper()
	known := subject.Known{Bars: m.bars}
	if m.row != nil {
		kept := *m.row
		known.Subject = &kept
	}
	m.last = subject.React(known, seen, m.rules)
	m.carryOut(m.last.Write)
	return m.last
}

func (m *machine) carryOut(write subject.Write) {
	m.t.Helper()
	for _, key := range write.Unbarred {
		for _, bar := range m.bars {
			if bar.Key == key {
				m.t.Fatalf("a write wants %s free, which is %s", key, bar.State)
			}
		}
	}
	if !write.Empty() && len(write.Audit) == 0 && len(write.Bars) == 0 {
		m.t.Error("a write that changes something has no record")
	}
	for _, one := range write.Subjects {
		generation := uint64(0)
		if m.row != nil {
			generation = m.row.Generation
		}
		if one.Expect != generation {
			m.t.Fatalf("expects generation %d, want %d", one.Expect, generation)
		}
		next := one.Next
		next.Generation = one.Expect + 1
		m.row = &next
	}
	for _, one := range write.Bars {
		m.bars = slices.DeleteFunc(m.bars, func(b subject.Bar) bool { return b.Key == one.Key })
		if one.Next != nil {
			bar := *one.Next
			bar.Generation = one.Expect + 1
			m.bars = append(m.bars, bar)
		}
	}
	m.events = append(m.events, write.History...)
}

func (m *machine) subjects() []subject.Subject {
	if m.row == nil {
		return []subject.Subject{{ID: machineID, Tenant: "blue"}}
	}
	return []subject.Subject{*m.row}
}

func (m *machine) keys() []subject.Key {
	return []subject.Key{machineID.Key(), {Kind: "instance", Value: instance}}
}

func (m *machine) lay(state attestd.State, by string) {
	m.carryOut(subject.Lay(state, m.keys(), "blue", m.subjects(), m.bars, subject.Act{
		By: by, Code: subject.CodeOperator, Text: "alert 4471", At: m.now,
	}))
}

func (m *machine) lift(by, reimaged string) error {
	write, err := subject.Lift(m.keys(), m.subjects(), m.bars, subject.Release{
		Act:      subject.Act{By: by, Code: subject.CodeOperator, Text: "clean", At: m.now},
		Reimaged: reimaged,
	})
	if err == nil {
		m.carryOut(write)
	}
	return err
}

// do carries out one word of a drawing.
func (m *machine) do(word string) error {
	m.now = m.now.Add(time.Second)
	seen := m.seen()
	switch word {
	case "accepted":
	case "rejected":
		seen.Verdict, seen.Risk = attestd.VerdictRejected, attestd.Risk(100)
	case "risky":
		seen.Risk = attestd.Risk(60)
	case "undecided":
		seen.Verdict, seen.Risk = attestd.VerdictUndecided, attestd.Risk(100)
	case "unproven":
		seen.Proven, seen.Verdict = false, attestd.VerdictRejected
	case "elsewhere":
		seen.Tenant, seen.Verdict = "red", attestd.VerdictRejected
	case "disowned":
		seen.Owner = subject.Ownership{}
	case "reappraised":
		seen.Again, seen.Verdict, seen.Risk = true, attestd.VerdictRejected, attestd.Risk(90)
		seen.Evidence = m.row.Evidence
	case "forgiven": // stored evidence judged again, and well
		seen.Again, seen.Evidence = true, m.row.Evidence
	case "reboot":
		m.boot++
		return nil
	case "reborn":
		m.boot++
		seen = m.seen()
	case "copy": // the boot before is back, and its clock with it
		seen.Boot = fmt.Sprintf("%s/%d", instance, m.boot-1)
		seen.Clock.Resets--
	case "late", "overdue":
		m.now = m.row.DueAt
		write, _ := subject.Late(*m.row, m.now, 0, m.rules)
		m.carryOut(write)
		if word == "overdue" {
			m.now = m.row.DueAt
			write, _ = subject.Late(*m.row, m.now, 0, m.rules)
			m.carryOut(write)
		}
		return nil
	case "quarantine":
		m.lay(attestd.StateQuarantined, "anna")
		return nil
	case "revoke":
		m.lay(attestd.StateRevoked, "anna")
		return nil
	case "release":
		return m.lift("ben", "")
	case "self-release":
		return m.lift("Anna", "")
	case "re-image":
		return m.lift("ben", "CHG-1")
	default:
		m.t.Fatalf("no such word: %q", word)
	}
	m.observe(seen)
	return nil
}

// draw follows a drawing like "unknown -accepted-> trusted": each state must be as drawn. A word with
// an exclamation mark must be refused.
func (m *machine) draw(drawing string) {
	m.t.Helper()
	words := strings.Fields(drawing)
	if got := m.state().String(); got != words[0] {
		m.t.Fatalf("begins %s, want %s", got, words[0])
	}
	for i := 1; i+1 < len(words); i += 2 {
		word := strings.TrimSuffix(strings.TrimPrefix(words[i], "-"), "->")
		want, refused := strings.CutSuffix(word, "!")
		err := m.do(want)
		if refused != (err != nil) {
			m.t.Fatalf("%s: step %d, %s: error %v", drawing, i/2+1, word, err)
		}
		var caller *attestd.CallerError
		if refused && (!errors.As(err, &caller) || caller.Hint == "") {
			m.t.Errorf("%s: %v is no refusal with a hint", word, err)
		}
		if got := m.state().String(); got != words[i+1] {
			m.t.Fatalf("%s: after step %d, %s: %s, want %s", drawing, i/2+1, word, got, words[i+1])
		}
	}
}
