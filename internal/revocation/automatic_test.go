package revocation_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/revocation"
	"github.com/attestd/attestd/internal/subject"
)

// rejected is evidence of a new machine of that name: accepted first and then not.
func (w *world) rejected(name, tenant, source string) []subject.Grounds {
	w.t.Helper()
	w.attest(w.seen(name, tenant, 1))
	bad := w.seen(name, tenant, 1)
	bad.Verdict, bad.Risk, bad.Source = attestd.VerdictRejected, attestd.Risk(100), source
	return w.attest(bad).Grounds
}

func (w *world) automatic(grounds []subject.Grounds) {
	w.t.Helper()
	if len(grounds) != 1 {
		w.t.Fatalf("grounds %v, want one", grounds)
	}
	if err := w.authority.Automatic(w.t.Context(), grounds); err != nil {
		w.t.Error(err)
	}
}

// TestCapsAreOfCodeSourceAndTenant: decoys of one source use up that source's cap and no other, and
// what is over a cap is suspect, never trusted.
func TestCapsAreOfCodeSourceAndTenant(t *testing.T) {
	w := newWorld(t, nil)
	want := func(name string, state attestd.State) {
		t.Helper()
		w.wantState(name, state)
		w.wantGrant(name, false)
	}
	for i := range 5 {
		w.automatic(w.rejected(fmt.Sprintf("decoy%d", i), "blue", "192.0.2.66"))
	}
	want("decoy0", attestd.StateQuarantined)
	want("decoy1", attestd.StateQuarantined)
	for i := 2; i < 5; i++ {
		want(fmt.Sprintf("decoy%d", i), attestd.StateSuspect)
	}
	if n, last := w.authority.Capped(); n != 3 || last.IsZero() {
		t.Errorf("%d over the cap, the last at %s", n, last)
	}
	refused := 0
	for _, record := range w.records("quarantine") {
		if record.Class == string(attestd.ClassRateLimited) {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("%d records of a cap that was reached, want one an hour", refused)
	}
	w.automatic(w.rejected("source1", "blue", "192.0.2.67"))
	want("source1", attestd.StateQuarantined)
	w.automatic(w.rejected("tenant1", "red", "192.0.2.66"))
	want("tenant1", attestd.StateQuarantined)
	churn := w.rejected("code1", "blue", "192.0.2.66")
	churn[0].Code = subject.CodeKeyChurn
	w.automatic(churn)
	want("code1", attestd.StateQuarantined)
	w.pass(time.Hour - time.Minute)
	w.automatic(w.rejected("early1", "blue", "192.0.2.66"))
	want("early1", attestd.StateSuspect)
	w.pass(2 * time.Minute)
	w.automatic(w.rejected("hour1", "blue", "192.0.2.66"))
	want("hour1", attestd.StateQuarantined)
}

// TestProofsHaveNoCap: a machine that is there twice is held however many there are.
func TestProofsHaveNoCap(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 6 {
		name := fmt.Sprintf("copied%d", i)
		w.attest(w.seen(name, "blue", 1))
		w.automatic([]subject.Grounds{{
			ID: idOf(name), Tenant: "blue", Code: subject.CodeClone, Source: "192.0.2.1", Detail: "copy",
		}})
		w.wantState(name, attestd.StateQuarantined)
	}
	for _, bar := range subjectBars(t, w) {
		if !bar.Automatic || bar.Code != subject.CodeClone || bar.By != subject.SourceSelf || bar.Key.Kind == "host" {
			t.Errorf("bar %+v", bar)
		}
	}
	// What attestd held a person releases, after a rebirth.
	w.attest(w.seen("copied0", "blue", 3))
	if _, err := w.authority.Release(t.Context(), anna, order(string(idOf("copied0")))); err != nil {
		t.Error(err)
	}
	w.attest(w.seen("copied0", "blue", 3))
	w.wantGrant("copied0", true)
}

// TestModes: in a dry run and with automation off the subject is suspect all the same.
func TestModes(t *testing.T) {
	rows := map[string]struct {
		mode    subject.Mode
		records int
		want    attestd.State
	}{
		"on":             {subject.ModeOn, 1, attestd.StateQuarantined},
		"a dry run":      {subject.ModeDryRun, 1, attestd.StateSuspect},
		"off":            {subject.ModeOff, 0, attestd.StateSuspect},
		"another ground": {subject.ModeOn, 0, attestd.StateSuspect},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(r *revocation.Rules) { r.Mode = row.mode })
			grounds := w.rejected("alpha1", "blue", "192.0.2.1")
			if name == "another ground" {
				grounds[0].Code = subject.CodeReappraise
			}
			for range 3 {
				w.automatic(grounds)
			}
			w.wantState("alpha1", row.want)
			w.wantGrant("alpha1", false)
			if records := w.records("quarantine"); len(records) != row.records {
				t.Errorf("%d records, want %d", len(records), row.records)
			}
		})
	}
}

// TestGroundsWhileTheStoreIsDown: what is proven is held round it, and by name at least.
func TestGroundsWhileTheStoreIsDown(t *testing.T) {
	for name, reads := range map[string]bool{"it can be read": false, "it cannot even be read": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil).fleet()
			w.store.writes.Store(true)
			w.store.reads.Store(reads)
			w.automatic([]subject.Grounds{{
				ID: idOf("alpha1"), Tenant: "blue", Code: subject.CodeClone, Source: "192.0.2.1", Detail: "copy",
			}})
			w.wantGrant("alpha1", false)
			w.store.writes.Store(false)
			w.store.reads.Store(false)
			if err := w.authority.Drain(t.Context()); err != nil {
				t.Error(err)
			}
			w.wantState("alpha1", attestd.StateQuarantined)
			if bars := subjectBars(t, w); len(bars) != 2 || w.authority.Journaled() != 0 {
				t.Errorf("bars %v, %d in the journal", bars, w.authority.Journaled())
			}
		})
	}
}
