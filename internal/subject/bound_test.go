package subject_test

import (
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// TestThatAKeyWasBoundIsNeverForgotten: evidence without a key, a reboot and a release are no way back
// to what was never bound.
func TestThatAKeyWasBoundIsNeverForgotten(t *testing.T) {
	m := newMachine(t)
	show := func(key byte, verdict attestd.Verdict) {
		seen := m.seen()
		seen.Key, seen.Verdict = [32]byte{key}, verdict
		m.observe(seen)
		m.now = m.now.Add(time.Minute)
	}
	show(0, attestd.VerdictAccepted)
	show(1, attestd.VerdictRejected)
	if m.row.EverBound() {
		t.Fatal("bound before accepted evidence named a key")
	}
	show(1, attestd.VerdictAccepted)
	for range 3 {
		m.boot++
		show(0, attestd.VerdictAccepted)
		if !m.row.EverBound() {
			t.Fatal("evidence without a key made it unbound")
		}
	}
	m.lay(attestd.StateQuarantined, "ann")
	m.boot++
	show(0, attestd.VerdictAccepted)
	if err := m.lift("bob", ""); err != nil || !m.row.EverBound() {
		t.Fatalf("got %v, and bound: %t", err, m.row.EverBound())
	}
	old := subject.Subject{Key: [32]byte{1}} // as rows were before this was kept
	if !old.EverBound() || !(subject.Subject{Trail: subject.Trail{Former: "aa"}}).EverBound() {
		t.Error("a row with a key counts as unbound")
	}
}
