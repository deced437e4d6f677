package service_test

import (
	"strings"
	"testing"

	"github.com/attestd/attestd"
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
	if one := w.known().Subject; one.State != attestd.StateSuspect || one.Tenant != "default" {
		t.Errorf("it is %s as %s's", one.State, one.Tenant)
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
