package service_test

import (
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/subject"
)

// neg: 180
func TestAHoldThatLandsBesideTheVerdictOfNobodysMachineIsNotMissed(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.options.desk = func(d service.Desk) service.Desk {
		return &racing{Desk: d, do: func() { w.bar(w.instance(), attestd.StateQuarantined) }}
	}
	w.close()
	w.must(w.open())
	_, err := w.attest("default", nil)
	w.refused(err, attestd.ClassQuarantined)
}

func TestRejectedEvidenceUsesNoTokenUp(t *testing.T) {
	w := newWorld(t, worldOptions{})
	token := w.token("default")
	with := func(s *service.Submission) { s.EnrolmentToken = token }
	w.must(w.service.Replace(t.Context(), service.Documents{Policy: strict(t, "strict"), Recorded: owned(t, "r")}))
	given, err := w.attest("default", with)
	w.must(err)
	if given.Verdict != attestd.VerdictRejected || given.Standing == nil || given.Standing.Ownership != "none" {
		t.Fatalf("got %s %+v", given.Verdict, given.Standing)
	}
	w.must(w.service.Replace(t.Context(), service.Documents{Policy: owned(t, "lax"), Recorded: owned(t, "r")}))
	given, err = w.attest("default", with)
	w.must(err)
	if given.Standing.Ownership != "enrolment" {
		t.Errorf("the token is gone: %+v", given.Standing)
	}
}

// TestOnlyEvidenceOfATenantsMachineIsKeptToBeJudgedAgain: what is judged again speaks about a subject
// that somebody owns.
func TestOnlyEvidenceOfATenantsMachineIsKeptToBeJudgedAgain(t *testing.T) {
	w := newWorld(t, worldOptions{})
	stored := func() []string {
		t.Helper()
		list, _, err := w.store.Stored(t.Context(), []string{"*"}, "", 10)
		w.must(err)
		ids := make([]string, 0, len(list))
		for _, one := range list {
			ids = append(ids, one.AppraisalID)
		}
		return ids
	}
	w.accepted("default")
	if ids := stored(); len(ids) != 0 {
		t.Fatalf("evidence of nobody's machine is kept: %v", ids)
	}
	w.own("default")
	first := w.accepted("default")
	if ids := stored(); len(ids) != 1 || ids[0] != first.ID {
		t.Fatalf("got %v, want %s", ids, first.ID)
	}
	w.put(w.owner("default", subject.StatusDenied))
	later, err := w.attest("default", nil)
	w.must(err)
	if ids := stored(); len(ids) != 1 || ids[0] != first.ID {
		t.Errorf("got %v after %s, want %s: the machine is nobody's any more", ids, later.ID, first.ID)
	}
	if later.Standing.State.Grants() {
		t.Errorf("a machine that is nobody's any more is %s", later.Standing.State)
	}
}

func TestWhatSpeaksForAQuarantineIsToldOnceItIsOnDisk(t *testing.T) {
	w := newWorld(t, worldOptions{codes: []subject.Code{subject.CodeEvidence}})
	w.own("default")
	w.accepted("default")
	w.must(w.service.Replace(t.Context(), service.Documents{Policy: strict(t, "strict"), Recorded: owned(t, "r")}))
	for bad := range 2 {
		given, err := w.attest("default", nil)
		w.must(err)
		if given.Verdict != attestd.VerdictRejected || given.Standing.State != attestd.StateSuspect {
			t.Fatalf("got %s %+v", given.Verdict, given.Standing)
		}
		if len(w.told.grounds) != bad {
			t.Errorf("after %d bad verdicts in a row: %+v", bad+1, w.told.grounds)
		}
	}
	if told := w.told.grounds[0]; told.Code != subject.CodeEvidence || told.Source != "192.0.2.1" ||
		told.ID != subject.ID(agent) || told.AppraisalID == "" {
		t.Errorf("got %+v", told)
	}
}

// TestEvidenceOnAPlainNonceIsNoSubjects: it does not say for which verifier it was made, so that another
// one could have asked the machine for it.
func TestEvidenceOnAPlainNonceIsNoSubjects(t *testing.T) {
	for _, held := range []bool{false, true} {
		w := newWorld(t, worldOptions{})
		w.own("default")
		if held {
			w.bar(w.instance(), attestd.StateRevoked)
		}
		issued := w.issue("default")
		handed := submission(issued, w.document(issued.Nonce))
		handed.Freshness = attestd.FreshnessNonce
		given, err := w.service.Verify(t.Context(), handed)
		if held {
			w.refused(err, attestd.ClassRevokedSubject)
			continue
		}
		w.must(err)
		if given.Verdict != attestd.VerdictAccepted || given.Standing.Subject != "" || w.known().Subject != nil {
			t.Errorf("got %s %+v", given.Verdict, given.Standing)
		}
	}
}

// TestAHeldMachinesNextBootIsNoted, and nothing else: a release wants to see that it was born again.
func TestAHeldMachinesNextBootIsNoted(t *testing.T) {
	w := newWorld(t, worldOptions{})
	tpm := w.newTPM(nil)
	w.own("default")
	given, err := w.attestTPM(tpm)
	w.must(err)
	if given.Standing == nil || given.Standing.State != attestd.StateTrusted {
		t.Fatalf("got %s %+v: %+v", given.Verdict, given.Standing, given.Reasons)
	}
	before := *w.known().Subject
	w.bar(w.instance(), attestd.StateQuarantined)
	tpm.ResetCount++
	_, err = w.attestTPM(tpm)
	w.refused(err, attestd.ClassQuarantined)
	after := *w.known().Subject
	if after.Boot == before.Boot || after.Boot == "" || after.State != attestd.StateQuarantined {
		t.Errorf("boot %q became %q, state %s", before.Boot, after.Boot, after.State)
	}
	if after.AppraisalID == "" || !after.DueAt.Before(time.Now().Add(2*time.Hour)) {
		t.Errorf("got %+v", after)
	}
}
