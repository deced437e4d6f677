package subject_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

func verdict() attestd.Appraisal {
	return attestd.Appraisal{
		ID: "a1", Verdict: attestd.VerdictAccepted, Format: attestd.FormatTPM, Risk: attestd.Risk(12),
		Freshness: attestd.FreshnessBinding, At: start,
		Claims: json.RawMessage(`{"clock":1234,"clock_safe":true,"reset_count":7,"ak_hierarchy":"endorsement"}`),
		Handles: []attestd.Handle{
			{Kind: attestd.HandleInstance, Value: "ek:aa"}, {Kind: attestd.HandleBoot, Value: "ek:aa/7"},
			{Kind: attestd.HandleHost, Value: "chip"},
		},
		EvidenceSHA256: strings.Repeat("ab", 32),
	}
}

func TestObserveReadsAVerdict(t *testing.T) {
	got := subject.Observe(verdict())
	want := subject.Clock{Milliseconds: 1234, Safe: true, Resets: 7, Plain: true}
	if !got.Proven || got.Instance.Value != "ek:aa" || got.Boot != "ek:aa/7" || got.Host != "chip" ||
		got.Evidence[0] != 0xab || got.Clock == nil || *got.Clock != want {
		t.Errorf("%+v", got)
	}
}

// TestWhatIsNotProven lists verdicts that show nothing about the machine they name.
func TestWhatIsNotProven(t *testing.T) {
	rows := map[string]func(*attestd.Appraisal){
		"nothing was verified":       func(v *attestd.Appraisal) { v.Claims = json.RawMessage("null") },
		"there are no claims at all": func(v *attestd.Appraisal) { v.Claims = nil },
		"freshness was not shown":    func(v *attestd.Appraisal) { v.Freshness = attestd.FreshnessNotShown },
		"a nonce of somebody else's": func(v *attestd.Appraisal) { v.Freshness = attestd.FreshnessNonce },
		"claims that are no object":  func(v *attestd.Appraisal) { v.Claims = json.RawMessage("[1]") },
	}
	for name, change := range rows {
		t.Run(name, func(t *testing.T) {
			one := verdict()
			change(&one)
			seen := subject.Observe(one)
			if seen.Proven {
				t.Fatal("counts as proven")
			}
			m := newMachine(t)
			m.draw("unknown -accepted-> trusted")
			good := m.seen()
			good.Proven = seen.Proven
			good.Verdict = attestd.VerdictRejected
			if got := m.observe(good); !got.Write.Empty() || got.Barred != nil || len(got.Grounds) != 0 {
				t.Errorf("leads to %+v", got)
			}
		})
	}
}

// TestWritesAreFenced: every key of the machine must be free when a verdict is written, and every
// ownership as it was.
func TestWritesAreFenced(t *testing.T) {
	m := newMachine(t)
	seen := m.seen()
	seen.Host = "chip"
	seen.Owned = []subject.OwnershipExpect{{Key: seen.Owner.Key, Expect: 3}}
	got := m.observe(seen)
	for _, key := range []subject.Key{
		machineID.Key(), {Kind: "instance", Value: instance}, {Kind: "boot", Value: instance + "/1"},
		{Kind: "host", Value: "chip"},
	} {
		if !slices.Contains(got.Write.Unbarred, key) {
			t.Errorf("%s may be held", key)
		}
	}
	if !slices.Equal(got.Write.Owned, seen.Owned) {
		t.Errorf("rests on %v", got.Write.Owned)
	}
	if got.Standing.Subject != string(machineID) || got.Standing.State != attestd.StateTrusted ||
		got.Standing.Tenant != "blue" || got.Standing.Risk.Int() != 10 || got.Standing.Epoch != 1 {
		t.Errorf("standing %+v", got.Standing)
	}
}

// TestHostsAreHeldWithoutASubject: what names no instance has no subject, and its host's bar holds it.
func TestHostsAreHeldWithoutASubject(t *testing.T) {
	m := newMachine(t)
	seen := m.seen()
	seen.ID, seen.Instance, seen.Host = "", attestd.Handle{}, "chip"
	if got := m.observe(seen); got.Subject != nil || !got.Write.Empty() || got.Barred != nil {
		t.Errorf("leads to %+v", got)
	}
	m.bars = []subject.Bar{{
		Key: subject.Key{Kind: "host", Value: "chip"}, State: attestd.StateQuarantined, Tenant: "*",
	}}
	if got := m.observe(seen); got.Barred == nil {
		t.Error("a barred host passes")
	}
}

// TestOtherTenantsSeeNothing: what is another tenant's looks as if it were not there. neg: 188
func TestOtherTenantsSeeNothing(t *testing.T) {
	m := newMachine(t)
	m.draw("unknown -accepted-> trusted")
	seen := m.seen()
	seen.Tenant = "red"
	there := m.observe(seen).Standing
	m.row = nil
	if not := m.observe(seen).Standing; there != not {
		t.Errorf("with a row of another tenant %+v, without %+v", there, not)
	}
}

// TestReappraisalOfOldEvidence: stored evidence that is no longer the latest changes nothing.
func TestReappraisalOfOldEvidence(t *testing.T) {
	m := newMachine(t)
	m.draw("unknown -accepted-> trusted")
	seen := m.seen()
	seen.Again, seen.Verdict, seen.Risk = true, attestd.VerdictRejected, attestd.Risk(100)
	seen.Evidence = [32]byte{99}
	if m.observe(seen); m.state() != attestd.StateTrusted {
		t.Errorf("%s", m.state())
	}
	due := m.row.DueAt
	seen.Evidence, seen.Verdict, seen.Risk = m.row.Evidence, attestd.VerdictAccepted, attestd.Risk(50)
	if m.observe(seen); m.state() != attestd.StateTrusted || m.row.Floor.Int() != 50 || !m.row.DueAt.Equal(due) {
		t.Errorf("%s at %s, due at %s", m.state(), m.row.Floor, m.row.DueAt)
	}
}

// TestHeldMachinesWriteLittle: a held machine that attests all day writes its rebirth and no more.
func TestHeldMachinesWriteLittle(t *testing.T) {
	m := newMachine(t)
	m.draw("unknown -accepted-> trusted -quarantine-> quarantined")
	writes := 0
	for i := range 10 {
		if i == 5 {
			m.boot++
		}
		if got := m.observe(m.seen()); !got.Write.Empty() {
			writes++
		}
	}
	if writes != 1 {
		t.Errorf("%d writes, want 1", writes)
	}
}

// TestReactDoesNotWriteToItsInput: what is known is the caller's.
func TestReactDoesNotWriteToItsInput(t *testing.T) {
	m := newMachine(t)
	m.draw("unknown -accepted-> trusted -reborn-> trusted -late-> trusted")
	before, err := json.Marshal(m.row)
	if err != nil {
		t.Fatal(err)
	}
	row := *m.row
	seen := m.seen()
	seen.Boot, seen.Key = instance+"/99", [32]byte{9}
	subject.React(subject.Known{Subject: &row}, seen, rules)
	if after, err := json.Marshal(row); err != nil || string(before) != string(after) {
		t.Errorf("%s became %s (%v)", before, after, err)
	}
}
