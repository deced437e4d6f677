package revocation_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/revocation"
)

func (w *world) journalPath() string { return filepath.Join(w.dir, "direct.journal") }

// hold orders a direct quarantine while the store cannot be written.
func (w *world) hold(target string) {
	w.t.Helper()
	w.store.writes.Store(true)
	wanted := order(target)
	wanted.Direct = true
	receipt, err := w.authority.Quarantine(w.t.Context(), anna, wanted)
	if err != nil {
		w.t.Fatal(err)
	}
	states := []string{"effective", "journaled", "pending"}
	for i, channel := range receipt.Channels {
		if channel.State != states[i] {
			w.t.Errorf("channel %+v, want %s", channel, states[i])
		}
	}
	if receipt.Grants < 1 && !strings.HasPrefix(target, "instance:") || len(receipt.Channels) != 3 {
		w.t.Errorf("receipt %+v", receipt)
	}
}

// TestDirectHolds go round a store that is down, outlive the process, and end up in the store with
// their record. neg: 179, 187
func TestDirectHolds(t *testing.T) {
	w := newWorld(t, nil).fleet()
	w.hold(string(idOf("alpha1")))
	w.wantGrant("alpha1", false)
	w.wantGrant("alpha2", true)
	w.restart() // killed before the store came back
	w.wantGrant("alpha1", false)
	if w.authority.Journaled() != 1 {
		t.Errorf("%d in the journal", w.authority.Journaled())
	}
	if err := w.authority.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.wantState("alpha1", attestd.StateQuarantined)
	w.wantGrant("alpha1", false)
	records := w.records("quarantine")
	if len(records) != 1 || records[0].Actor != "anna" || records[0].Detail["direct"] != "yes" {
		t.Errorf("records %+v", records)
	}
	w.restart()
	if w.authority.Journaled() != 0 {
		t.Error("the journal still has it")
	}
	w.wantGrant("alpha1", false)
}

// TestDirectHoldsHoldWhatEvidenceWouldFree: the store does not know of it yet, and nothing is granted.
func TestDirectHoldsHoldWhatEvidenceWouldFree(t *testing.T) {
	w := newWorld(t, nil).fleet()
	w.hold(string(idOf("alpha1")))
	w.attest(w.seen("alpha1", "blue", 1))
	w.wantGrant("alpha1", false)
}

// TestStrangersCanBeHeldDirectly: what was never seen is in the lists when the store has the hold.
func TestStrangersCanBeHeldDirectly(t *testing.T) {
	w := newWorld(t, nil)
	wanted := order(string(idOf("omega1")))
	wanted.Tenant, wanted.Direct = "blue", true
	if _, err := w.authority.Quarantine(t.Context(), anna, wanted); err != nil {
		t.Fatal(err)
	}
	w.wantGrant("omega1", false)
	w.restart()
	if err := w.authority.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.wantState("omega1", attestd.StateQuarantined)
	if got := w.attest(w.seen("omega1", "blue", 1)); got.Barred == nil {
		t.Error("it passes")
	}
}

// TestDirectHoldsWithoutReading: with the words of the order alone. It takes an operator of all
// tenants, for nothing says whose it is.
func TestDirectHoldsWithoutReading(t *testing.T) {
	w := newWorld(t, nil).fleet()
	w.store.reads.Store(true)
	wanted := order(string(idOf("alpha1")))
	wanted.Direct = true
	if _, err := w.authority.Quarantine(t.Context(), blue, wanted); err == nil {
		t.Error("an operator of one tenant holds what may be another's")
	}
	w.wantGrant("alpha1", true)
	w.hold(string(idOf("alpha1")))
	w.hold("instance:" + ekOf("alpha2"))
	w.wantGrant("alpha1", false)
	w.wantGrant("alpha2", false)
	short := order("ek:rouge")
	short.Direct = true
	w.store.Close() // a prefix is looked up in the registry itself
	_, err := w.authority.Quarantine(t.Context(), anna, short)
	wantClass(t, err, attestd.ClassConflict)
	w.store = nil
}

// TestReleaseWaitsForDirectHolds: what is only in the journal would come back after the release.
func TestReleaseWaitsForDirectHolds(t *testing.T) {
	w := newWorld(t, nil).fleet()
	w.hold(string(idOf("alpha1")))
	target := order(string(idOf("alpha1")))
	target.Reimaged = "CHG-1"
	if _, err := w.authority.Release(t.Context(), ben, target); err == nil {
		t.Fatal("released while the store is down")
	}
	w.store.writes.Store(false)
	if _, err := w.authority.Release(t.Context(), ben, target); err != nil {
		t.Fatal(err)
	}
	w.attest(w.seen("alpha1", "blue", 1))
	w.wantGrant("alpha1", true)
	w.restart()
	w.wantGrant("alpha1", true)
}

// TestHoldsOfOneKeyTwice: the end of one entry does not end another's hold.
func TestHoldsOfOneKeyTwice(t *testing.T) {
	w := newWorld(t, nil).fleet()
	w.hold(string(idOf("alpha1")))
	wanted := order(string(idOf("alpha1")))
	wanted.Direct = true
	if _, err := w.authority.Revoke(t.Context(), anna, wanted); err != nil {
		t.Fatal(err)
	}
	w.store.writes.Store(false)
	w.store.left.Store(1) // it goes down again between the two
	if err := w.authority.Drain(t.Context()); err == nil || w.authority.Journaled() != 1 {
		t.Errorf("%v, %d in the journal, want one that waits", err, w.authority.Journaled())
	}
	if state, _ := w.index.Held(idOf("alpha1").Key()); state != attestd.StateRevoked {
		t.Errorf("held as %s, want revoked", state)
	}
	w.store.writes.Store(false)
	if err := w.authority.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.wantState("alpha1", attestd.StateRevoked)
	w.wantGrant("alpha1", false)
}

// TestDamagedJournals: half a last line was never acknowledged; anything else refuses to start.
func TestDamagedJournals(t *testing.T) {
	rows := map[string]struct {
		change func(string) string
		opens  bool
		holds  int
	}{
		"as it was written":        {func(s string) string { return s }, true, 2},
		"half a line at the end":   {func(s string) string { return s + "0123 {\"number\":9" }, true, 2},
		"the last line cut":        {func(s string) string { return s[:len(s)-10] }, true, 1},
		"a letter changed":         {func(s string) string { return strings.Replace(s, "exfil", "exfim", 1) }, false, 0},
		"a digest changed":         {func(s string) string { return "0" + s[1:] }, false, 0},
		"an empty line":            {func(s string) string { return "\n" + s }, false, 0},
		"a line in the middle cut": {func(s string) string { return s[:40] + "\n" + s }, false, 0},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil).fleet()
			w.hold(string(idOf("alpha1")))
			w.hold(string(idOf("alpha2")))
			if err := w.authority.Close(); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(w.journalPath())
			if err != nil {
				t.Fatal(err)
			}
			changed := row.change(string(text))
			if string(text[0]) == "0" && name == "a digest changed" {
				changed = "1" + string(text[1:])
			}
			if err = os.WriteFile(w.journalPath(), []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			again, err := revocation.New(w.config())
			if !row.opens {
				wantClass(t, err, attestd.ClassConfig)
				return
			}
			if err != nil || again.Journaled() != row.holds {
				t.Fatalf("%v, %d holds, want %d", err, again.Journaled(), row.holds)
			}
			// What is added behind half a line can be read again.
			w.authority = again
			w.hold(string(idOf("rouge1")))
			if err = again.Close(); err != nil {
				t.Fatal(err)
			}
			if w.authority, err = revocation.New(w.config()); err != nil || w.authority.Journaled() != row.holds+1 {
				t.Errorf("%v after one more", err)
			}
		})
	}
}

// TestJournalThatCannotBeWritten: the hold is effective all the same, and the receipt says how far.
func TestJournalThatCannotBeWritten(t *testing.T) {
	w := newWorld(t, nil).fleet()
	if err := w.authority.Close(); err != nil {
		t.Fatal(err)
	}
	w.store.writes.Store(true)
	wanted := order(string(idOf("alpha1")))
	wanted.Direct = true
	receipt, err := w.authority.Quarantine(t.Context(), anna, wanted)
	if err != nil || receipt.Channels[1].State != "failed" {
		t.Errorf("%+v (%v)", receipt.Channels, err)
	}
	w.wantGrant("alpha1", false)
	w.store.writes.Store(false)
	if err = w.authority.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	w.wantState("alpha1", attestd.StateQuarantined)
}

// TestJournalIsTheirsAlone: nobody else on the machine reads who is suspected of what.
func TestJournalIsTheirsAlone(t *testing.T) {
	w := newWorld(t, nil).fleet()
	w.hold(string(idOf("alpha1")))
	info, err := os.Stat(w.journalPath())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v (%v)", info.Mode(), err)
	}
}
