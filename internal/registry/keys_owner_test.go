package registry_test

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/subject"
)

// enrol approves the machine of an endorsement key for a tenant.
func enrol(t *testing.T, store *registry.Store, ek [32]byte, tenant string) {
	t.Helper()
	enrolUntil(t, store, ek, tenant, time.Time{})
}

func enrolUntil(
	t *testing.T, store *registry.Store, ek [32]byte, tenant string, ends time.Time,
) {
	t.Helper()
	key := subject.Key{Kind: string(subject.BarInstance), Value: "ek:" + hex.EncodeToString(ek[:])}
	known, err := store.Known(t.Context(), subject.Ask{Owners: []subject.Key{key}})
	if err != nil {
		t.Fatal(err)
	}
	expect := uint64(0)
	if len(known.Owners) > 0 {
		expect = known.Owners[0].Generation
	}
	err = store.Write(t.Context(), subject.Write{Audit: []audit.Record{{
		At: store.Now(), Actor: "anna", Tenant: tenant, Action: "enroll.approve", Outcome: "done",
	}}, Owners: []subject.OwnershipWrite{{
		Key: key, Expect: expect, Next: &subject.Ownership{
			Key: key, Tenant: tenant, Status: subject.StatusApproved, Method: subject.MethodInventory,
			ExpiresAt: ends,
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
}

// A machine that answered under one tenant's name while it was nobody's is not lost to the tenant that
// enrols it, nor to a new one that it is given to.
func TestAKeyThatAnsweredBeforeItsMachineWasEnrolledIsTheOwners(t *testing.T) {
	store := fresh(t, newFakeTime().clock(), roomy)
	credential := challenge.Credential{AKName: keyName(1), EK: ekOf(1)}
	if err := store.InsertAppraisal(t.Context(), shows("default", credential, stateAt(1, 1), nil)); err != nil {
		t.Fatal(err)
	}
	ask := func(tenant string) error {
		_, err := store.KnowsKey(t.Context(), tenant, keyName(1), ekOf(1))
		return err
	}
	if err := ask("blue"); err != nil {
		t.Errorf("nobody's machine: %v", err)
	}
	enrol(t, store, ekOf(1), "blue")
	if err := ask("blue"); err != nil {
		t.Errorf("the owner: %v", err)
	}
	if err := store.InsertAppraisal(t.Context(), shows("blue", credential, stateAt(2, 2), nil)); err != nil {
		t.Errorf("the owner's verdict: %v", err)
	}
	if err := ask("default"); !isConflict(err) {
		t.Errorf("who has it no longer: got %v, want a conflict", err)
	}
	enrol(t, store, ekOf(1), "default")
	if err := ask("default"); err != nil {
		t.Errorf("the next owner: %v", err)
	}
	if err := ask("blue"); !isConflict(err) {
		t.Errorf("the former owner: got %v, want a conflict", err)
	}
}

// A tenant that had a machine for a while does not keep it from whoever has it next by another of its
// keys, as that of a cloud's project, nor from whoever finds it.
func TestAnEnrolmentThatHasEndedKeepsNobodyOut(t *testing.T) {
	times := newFakeTime()
	store := fresh(t, times.clock(), roomy)
	enrolUntil(t, store, ekOf(1), "blue", store.Now().Add(time.Hour))
	credential := challenge.Credential{AKName: keyName(1), EK: ekOf(1)}
	answers := func(tenant string) error {
		return store.InsertAppraisal(t.Context(), shows(tenant, credential, stateAt(1, 1), nil))
	}
	if err := answers("blue"); err != nil {
		t.Fatal(err)
	}
	if err := answers("default"); !isConflict(err) {
		t.Errorf("while it is blue's: got %v, want a conflict", err)
	}
	times.pass(time.Hour)
	if _, err := store.KnowsKey(t.Context(), "default", keyName(1), ekOf(1)); err != nil {
		t.Errorf("after it was: %v", err)
	}
	if err := answers("default"); err != nil {
		t.Errorf("a verdict after it was: %v", err)
	}
}
