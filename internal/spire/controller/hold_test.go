package controller_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/spire/controller"
	"github.com/attestd/attestd/internal/spire/wire"
)

const held = "spiffe://" + domain + "/db"

// entry makes an entry of the held id, as a person does it.
func (w *world) entry(entryID string) {
	w.t.Helper()
	// SPIRE refuses a second entry with the same selectors and parent.
	w.run(w.t, "entry", "create", "-entryID", entryID, "-parentID", "spiffe://"+domain+"/"+entryID, "-spiffeID", held,
		"-selector", "unix:uid:1000", "-x509SVIDTTL", "120", "-hint", "database")
}

// selectors are those of an entry, as spire-server shows them.
func (w *world) selectors(entryID string) []string {
	w.t.Helper()
	var shown struct {
		Entries []struct {
			Selectors []struct{ Type, Value string }
			TTL       int32 `json:"x509_svid_ttl"`
			Hint      string
		}
	}
	text := w.run(w.t, "entry", "show", "-entryID", entryID, "-output", "json")
	if err := json.Unmarshal([]byte(text), &shown); err != nil || len(shown.Entries) != 1 {
		w.t.Fatalf("%v: %s", err, text)
	}
	if shown.Entries[0].TTL != 120 || shown.Entries[0].Hint != "database" {
		w.t.Errorf("another field of the entry changed: %s", text)
	}
	var out []string
	for _, one := range shown.Entries[0].Selectors {
		out = append(out, one.Type+":"+one.Value)
	}
	slices.Sort(out)
	return out
}

func markText() string { return controller.Mark(held).Type + ":" + controller.Mark(held).Value }

func TestAHeldEntryMatchesNothingUntilItIsReleased(t *testing.T) {
	w := newWorld(t)
	w.entry("attestd.db")
	w.control()
	reached := w.order(func(o *wire.Orders) { o.Holds = append(o.Holds, held) })
	if len(reached.Done) != 1 || reached.Done[0].What != "hold" {
		t.Fatalf("got %+v, want the hold done", reached)
	}
	if got, want := w.selectors("attestd.db"), []string{markText(), "unix:uid:1000"}; !slices.Equal(got, want) {
		t.Errorf("held: got %q, want %q", got, want)
	}
	// An entry that is made later is held, too.
	w.entry("attestd.db.second")
	w.until("the new entry is held", 10*time.Second, func() bool {
		return slices.Contains(w.selectors("attestd.db.second"), markText())
	})
	// What somebody puts back is held again.
	w.run(t, "entry", "update", "-entryID", "attestd.db", "-parentID", "spiffe://"+domain+"/attestd.db", "-spiffeID", held,
		"-selector", "unix:uid:1000", "-x509SVIDTTL", "120", "-hint", "database")
	w.until("the hold is laid again", 10*time.Second, func() bool {
		return slices.Contains(w.selectors("attestd.db"), markText()) &&
			w.logs.count("a hold was undone in SPIRE") == 1
	})
	w.order(func(o *wire.Orders) { o.Holds = without(o.Holds, held) })
	w.until("the hold is lifted", 10*time.Second, func() bool { return w.done("unhold", held) })
	for _, one := range []string{"attestd.db", "attestd.db.second"} {
		if got, want := w.selectors(one), []string{"unix:uid:1000"}; !slices.Equal(got, want) {
			t.Errorf("released %s: got %q, want %q", one, got, want)
		}
	}
}

func TestAnEntryOfSomebodyElseIsNotTouched(t *testing.T) {
	w := newWorld(t)
	w.entry("attestd.db")
	w.entry("gitops.db")
	w.control()
	reached := w.order(func(o *wire.Orders) { o.Holds = append(o.Holds, held) })
	if len(reached.Open) != 1 || !strings.Contains(reached.Open[0].Detail, "not attestd's to hold (gitops.db)") {
		t.Errorf("got %+v, want the hold open for gitops.db", reached)
	}
	if got := w.selectors("gitops.db"); slices.Contains(got, markText()) {
		t.Errorf("a foreign entry was touched: %q", got)
	}
	if got := w.selectors("attestd.db"); !slices.Contains(got, markText()) {
		t.Errorf("the own entry was not held: %q", got)
	}
}

func TestAHoldWithoutAnEntryStaysOpen(t *testing.T) {
	w := newWorld(t)
	w.control()
	reached := w.order(func(o *wire.Orders) { o.Holds = append(o.Holds, held) })
	if len(reached.Open) != 1 || reached.Open[0].Detail == "" {
		t.Fatalf("got %+v, want the hold open", reached)
	}
	w.entry("attestd.db")
	w.until("the hold is laid", 10*time.Second, func() bool { return w.done("hold", held) })
}

func TestHoldsAreComparedAfterARestart(t *testing.T) {
	w := newWorld(t)
	w.entry("attestd.db")
	stop := w.control()
	w.order(func(o *wire.Orders) { o.Holds = append(o.Holds, held) })
	stop()
	if w.mu.Lock(); !slices.Equal(w.state.Holds, []string{"attestd.db"}) {
		t.Errorf("attestd keeps %q of holds, want attestd.db", w.state.Holds)
	}
	w.orders.Holds = []string{}
	w.mu.Unlock()
	w.control()
	w.until("the hold is lifted", 10*time.Second, func() bool {
		return slices.Equal(w.selectors("attestd.db"), []string{"unix:uid:1000"})
	})
}

// TestAMarkWithoutARecordIsAPersons: attestd takes off only what it put on.
func TestAMarkWithoutARecordIsAPersons(t *testing.T) {
	w := newWorld(t)
	w.run(t, "entry", "create", "-entryID", "attestd.db", "-parentID", "spiffe://"+domain+"/node", "-spiffeID", held,
		"-selector", "unix:uid:1000", "-selector", markText(), "-x509SVIDTTL", "120", "-hint", "database")
	w.control()
	w.until("the mark is reported", 10*time.Second, func() bool { return w.opened("unhold", held) != "" })
	if got := w.selectors("attestd.db"); !slices.Contains(got, markText()) {
		t.Errorf("the mark was taken off: %q", got)
	}
}

// TestAHoldDoesNotWaitForTheRecord: revocation goes on where attestd's store does not.
func TestAHoldDoesNotWaitForTheRecord(t *testing.T) {
	w := newWorld(t)
	w.entry("attestd.db")
	w.control()
	w.mu.Lock()
	w.refuses = true
	w.mu.Unlock()
	began := time.Now()
	reached := w.order(func(o *wire.Orders) { o.Holds = append(o.Holds, held) })
	if len(reached.Done) != 1 || time.Since(began) > 3*time.Second {
		t.Errorf("got %+v after %s, want the hold done", reached, time.Since(began))
	}
}
