package reappraisal_test

import (
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/subject"
)

func (w *world) risk(machine int) int {
	w.Helper()
	one, found, err := w.store.Subject(w.Context(), idOf(machine))
	w.must(err)
	if !found {
		w.Fatalf("machine %d is unknown", machine)
	}
	risk, _ := one.RiskAt(w.store.Now())
	return risk.Int()
}

// What is stored is the latest evidence that was accepted. What came after it and was rejected speaks
// against the machine whatever the older says.
func TestOlderEvidenceTakesNothingBackOfWhatCameAfterIt(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.trusted("default", 0)
	w.must(w.service.Replace(t.Context(), documents(t, policy(t, "second", strict))))
	if given := w.attest("default", 0); given.Verdict != attestd.VerdictRejected {
		t.Fatalf("got %s", given.Verdict)
	}
	before := w.risk(0)
	w.must(w.service.Replace(t.Context(), documents(t, policy(t, "third", lax))))
	if done := w.ended(ann, wire.ReappraisalRequest{}); done.Done != 1 || done.Failed != 0 {
		t.Errorf("got %+v", done)
	}
	if w.risk(0) != before || w.state(0) != attestd.StateSuspect {
		t.Errorf("risk %d, was %d; state %s", w.risk(0), before, w.state(0))
	}
}

// Stored evidence is as old as it was: by a policy that is laxer now nobody comes by a better tier.
func TestALaxerPolicyGivesNothingToOldEvidence(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.must(w.service.Replace(t.Context(), documents(t, policy(t, "second",
		"{want: [cloud-account], otherwise: 55}"))))
	w.trusted("default", 0)
	before := w.risk(0)
	w.must(w.service.Replace(t.Context(), documents(t, policy(t, "third", lax))))
	w.ended(ann, wire.ReappraisalRequest{})
	if got := w.risk(0); got != before {
		t.Errorf("risk %d, was %d", got, before)
	}
	if w.attest("default", 0); w.risk(0) >= before {
		t.Errorf("fresh evidence: risk %d, was %d", w.risk(0), before)
	}
}

// Whose a machine is, is asked of today, whether the policy scores it or not.
func TestAMachineThatIsNobodysAnyMoreIsNotTrustedUnderAnyPolicy(t *testing.T) {
	w := newWorld(t)
	w.run()
	w.must(w.service.Replace(t.Context(), documents(t, policy(t, "second", "any"))))
	w.trusted("default", 0)
	known, err := w.store.Known(t.Context(), subject.Ask{Owners: []subject.Key{keyOf(0)}})
	w.must(err)
	w.must(w.store.Write(t.Context(), subject.Write{
		Owners: []subject.OwnershipWrite{{Key: keyOf(0), Expect: known.Owners[0].Generation}},
		Audit: []audit.Record{{
			At: w.store.Now(), Actor: "ann", Tenant: "default", Action: "enroll.remove", Outcome: "done",
		}},
	}))
	w.ended(ann, wire.ReappraisalRequest{})
	if w.state(0) != attestd.StateSuspect {
		t.Errorf("it is %s", w.state(0))
	}
}
