package service_test

import (
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
)

// An ownership takes effect with the machine's next evidence, whichever tenant it is for: what is
// another tenant's now is not trusted as the former's until its evidence would be overdue. neg: 188
func TestAMachineThatWentToAnotherTenantIsNotTrustedAsTheFormers(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.own("default")
	w.accepted("default")
	w.own("blue")
	given, err := w.attest("default", nil)
	w.must(err)
	if given.Verdict != attestd.VerdictRejected || given.Standing.Subject != "" ||
		given.Standing.State != attestd.StateUnknown || strings.Contains(text(t, given), "blue") {
		t.Errorf("got %s, %+v", given.Verdict, given.Standing)
	}
	if one := w.known().Subject; one.State != attestd.StateSuspect || one.Tenant != "default" || one.Bad != 0 {
		t.Errorf("it is %s as %s's, after %d bad verdicts of its own", one.State, one.Tenant, one.Bad)
	}
	// Those whose it is lose nothing by what it says to others.
	if given = w.accepted("blue"); given.Standing.State != attestd.StateTrusted {
		t.Errorf("for its owner: %+v", given.Standing)
	}
	before := w.known().Subject
	if given, err = w.attest("default", nil); err != nil || given.Verdict != attestd.VerdictRejected {
		t.Errorf("got %s, %v", given.Verdict, err)
	}
	if one := w.known().Subject; one.State != attestd.StateTrusted || one.Tenant != "blue" ||
		one.Generation != before.Generation {
		t.Errorf("it is %s as %s's", one.State, one.Tenant)
	}
	// That another tenant holds it is not the former's to learn, in this case too.
	w.bar(w.instance(), attestd.StateQuarantined)
	if given, err = w.attest("default", nil); err != nil || !failedBy(given, "ownership/tenant") {
		t.Errorf("held by another tenant: got %s, %v", given.Verdict, err)
	}
}

// neg: 188
func TestThatAFormerMachineIsHeldIsNotTold(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.own("default")
	w.accepted("default")
	w.own("blue")
	w.bar(w.instance(), attestd.StateQuarantined)
	given, err := w.attest("default", nil)
	if err != nil || !failedBy(given, "ownership/tenant") || strings.Contains(text(t, given), "quarantine") {
		t.Errorf("got %s, %v: %s", given.Verdict, err, text(t, given))
	}
	if one := w.known().Subject; one.State == attestd.StateTrusted {
		t.Error("it is trusted")
	}
}

// Evidence on a plain nonce may have been asked for by another verifier: it neither uses up a token that
// came with it nor has the machine wait for approval.
func TestEvidenceOnAPlainNonceEnrolsNobody(t *testing.T) {
	for _, token := range []bool{true, false} {
		w := newWorld(t, worldOptions{})
		issued := w.issue("default")
		handed := submission(issued, w.document(issued.Nonce))
		handed.Freshness = attestd.FreshnessNonce
		if token {
			handed.EnrolmentToken = w.token("default")
		}
		given, err := w.service.Verify(t.Context(), handed)
		w.must(err)
		if known := w.known(); given.Verdict != attestd.VerdictAccepted || len(known.Owners) != 0 {
			t.Errorf("with a token: %t: %s, and the registry has %+v", token, given.Verdict, known.Owners)
		}
	}
}

// What is judged again is the latest evidence that was accepted: what was rejected would be rejected.
func TestRejectedEvidenceIsNotKeptInPlaceOfAcceptedOne(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.own("default")
	first := w.accepted("default")
	w.must(w.service.Replace(t.Context(), service.Documents{Policy: strict(t, "strict"), Recorded: owned(t, "r")}))
	given, err := w.attest("default", nil)
	w.must(err)
	kept, _, err := w.store.Stored(t.Context(), []string{"*"}, "", 10)
	w.must(err)
	if given.Verdict != attestd.VerdictRejected || len(kept) != 1 || kept[0].AppraisalID != first.ID {
		t.Errorf("%s: %d kept, want that of %s", given.Verdict, len(kept), first.ID)
	}
}
