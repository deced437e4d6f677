package registry_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/registry"
)

// keyName is the Name of the n-th attestation key, ekOf the digest of the n-th endorsement key.
func keyName(n byte) []byte { return append([]byte{0, 0x0B}, bytes.Repeat([]byte{n}, 32)...) }

func ekOf(n byte) [32]byte { return sha256.Sum256([]byte{n}) }

func stateAt(reset uint32, clock uint64) attestd.TPMState {
	return attestd.TPMState{ResetCount: reset, Clock: clock, Firmware: 1 << 63, RestartCount: 2}
}

// shows is a verdict of the tenant that showed the state, reached with against.
func shows(
	tenant string, credential challenge.Credential, state attestd.TPMState, against *attestd.TPMState,
) challenge.Answered {
	return challenge.Answered{
		ID: rand.Text(), ChallengeID: rand.Text(), Tenant: tenant, Document: []byte("{}"),
		Seen: &challenge.Seen{Credential: credential, State: state, Against: against},
	}
}

// taken issues a challenge with the credential and consumes it.
func taken(t *testing.T, store *registry.Store, credential *challenge.Credential) (challenge.Taken, error) {
	t.Helper()
	made := newChallenge(store.Now())
	issued := challenge.Issued{Challenge: made, Source: "192.0.2.1", Credential: credential}
	if err := store.InsertChallenge(t.Context(), issued); err != nil {
		t.Fatal(err)
	}
	got, outcome, err := store.Consume(t.Context(), useOf(made))
	if err == nil && outcome != challenge.Consumed {
		t.Fatalf("got outcome %d", outcome)
	}
	return got, err
}

func known(t *testing.T, store *registry.Store, credential challenge.Credential) *challenge.Key {
	t.Helper()
	got, err := taken(t, store, &credential)
	if err != nil {
		t.Fatal(err)
	}
	return got.Key
}

func isConflict(err error) bool {
	var caller *attestd.CallerError
	return errors.As(err, &caller) && caller.Class == attestd.ClassConflict && caller.Hint != ""
}

func TestACredentialComesBackWithItsChallengeAndOnlyItsDigestIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store := open(t, path, newFakeTime().clock(), roomy)
	secret := []byte("the secret inside of a credential")
	for name, want := range map[string]*challenge.Credential{
		"none":             nil,
		"one to answer":    {AKName: keyName(1), EK: ekOf(1), Secret: sha256.Sum256(secret)},
		"one from earlier": {AKName: keyName(1), EK: ekOf(1), Earlier: true},
	} {
		got, err := taken(t, store, want)
		if err != nil || !reflect.DeepEqual(got.Credential, want) || got.Key != nil {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, want)
		}
	}
	_ = store.Close()
	database, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = database.Close() }()
	for name, statement := range map[string]string{
		"a digest without a key":     `UPDATE challenges SET ek = NULL, ak_name = NULL WHERE secret_sha256 IS NOT NULL`,
		"a name without its EK":      `UPDATE challenges SET ek = NULL WHERE ek IS NOT NULL`,
		"a digest of another length": `UPDATE challenges SET secret_sha256 = x'00' WHERE ek IS NOT NULL`,
	} {
		if _, err := database.Exec(statement); err == nil {
			t.Errorf("%s can be stored", name)
		}
	}
}

func TestAKeyIsKnownOnceAVerdictShowedIt(t *testing.T) {
	moving := newFakeTime()
	path := filepath.Join(t.TempDir(), "attestd.db")
	store := open(t, path, moving.clock(), roomy)
	credential := challenge.Credential{AKName: keyName(1), EK: ekOf(1)}
	if ok, err := store.KnowsKey(t.Context(), "default", keyName(1), ekOf(1)); ok || err != nil {
		t.Fatalf("got %v, %v before anything was shown", ok, err)
	}
	state := stateAt(3, 1<<63+5)
	state.IMA = &attestd.IMAState{Offset: 700, Entries: 9, Bank: "SHA256", Register: []byte{1, 2}}
	if err := store.InsertAppraisal(t.Context(), shows("default", credential, state, nil)); err != nil {
		t.Fatal(err)
	}
	if ok, err := store.KnowsKey(t.Context(), "default", keyName(1), ekOf(1)); !ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
	want := &challenge.Key{EK: ekOf(1), ActivatedAt: store.Now(), State: state}
	_ = store.Close()
	if got := known(t, open(t, path, moving.clock(), roomy), credential); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// neg: 86
func TestAKeyUnderAnotherEndorsementKeyOrTenantIsAConflict(t *testing.T) {
	store := fresh(t, newFakeTime().clock(), roomy)
	enrol(t, store, ekOf(1), "default")
	first := challenge.Credential{AKName: keyName(1), EK: ekOf(1)}
	if err := store.InsertAppraisal(t.Context(), shows("default", first, stateAt(1, 1), nil)); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		tenant string
		name   []byte
		ek     [32]byte
	}{
		"the same attestation key under another endorsement key": {"default", keyName(1), ekOf(2)},
		"the same endorsement key under another tenant":          {"blue", keyName(2), ekOf(1)},
		"both keys under another tenant":                         {"blue", keyName(1), ekOf(1)},
	} {
		t.Run(name, func(t *testing.T) {
			if ok, err := store.KnowsKey(t.Context(), row.tenant, row.name, row.ek); ok || !isConflict(err) {
				t.Errorf("asked for: got %v, %v; want a conflict", ok, err)
			}
			credential := challenge.Credential{AKName: row.name, EK: row.ek}
			answered := shows(row.tenant, credential, stateAt(9, 9), nil)
			if err := store.InsertAppraisal(t.Context(), answered); !isConflict(err) {
				t.Errorf("stored: got %v, want a conflict", err)
			}
			if _, found, err := store.Appraisal(t.Context(), answered.ID); found || err != nil {
				t.Errorf("the verdict is there: %v, %v", found, err)
			}
			made := newChallenge(store.Now())
			made.Tenant = row.tenant
			issued := challenge.Issued{Challenge: made, Source: "x", Credential: &credential}
			if err := store.InsertChallenge(t.Context(), issued); err != nil {
				t.Fatal(err)
			}
			if got, outcome, err := store.Consume(t.Context(), useOf(made)); !isConflict(err) ||
				outcome == challenge.Consumed || got.ID != "" {
				t.Errorf("handed in: got %+v, %d, %v; want a conflict", got, outcome, err)
			}
			consume(t, store, useOf(made), challenge.UsedBefore)
		})
	}
	second := challenge.Credential{AKName: keyName(2), EK: ekOf(1)}
	if err := store.InsertAppraisal(t.Context(), shows("default", second, stateAt(1, 1), nil)); err != nil {
		t.Errorf("a second attestation key in the same TPM: %v", err)
	}
	if got := known(t, store, first); got.State.ResetCount != 1 {
		t.Errorf("got %+v, want what was known before", got)
	}
}

// neg: 76, 77
func TestTheStateOfAKeyMovesForwardOnly(t *testing.T) {
	ima := func(offset uint64) *attestd.IMAState {
		return &attestd.IMAState{Offset: offset, Entries: 1, Bank: "SHA256", Register: []byte{1}}
	}
	with := func(state attestd.TPMState, ima *attestd.IMAState) attestd.TPMState {
		state.IMA = ima
		return state
	}
	restarted := stateAt(5, 10)
	restarted.RestartCount = 3
	before := with(stateAt(5, 100), ima(50))
	otherBank := ima(60)
	otherBank.Bank, otherBank.Entries, otherBank.Register = "SHA384", 9, []byte{2}
	updated := stateAt(5, 101)
	updated.Firmware++
	for name, row := range map[string]struct{ seen, want attestd.TPMState }{
		"a later clock":                {with(stateAt(5, 101), ima(60)), with(stateAt(5, 101), ima(60))},
		"a later clock without a log":  {stateAt(5, 101), with(stateAt(5, 101), ima(50))},
		"a later clock, a shorter log": {with(stateAt(5, 101), ima(40)), with(stateAt(5, 101), ima(50))},
		"the same moment":              {before, before},
		"an earlier clock":             {with(stateAt(5, 99), ima(60)), before},
		"fewer resets":                 {with(stateAt(4, 900), ima(60)), before},
		"a new boot":                   {stateAt(6, 1), stateAt(6, 1)},
		"a new boot with a log":        {with(stateAt(6, 1), ima(7)), with(stateAt(6, 1), ima(7))},
		"a restart":                    {restarted, restarted},
		"a log in another bank":        {with(stateAt(5, 101), otherBank), with(stateAt(5, 101), otherBank)},
		"other firmware":               {with(updated, ima(60)), with(updated, ima(60))},
	} {
		t.Run(name, func(t *testing.T) {
			store := fresh(t, newFakeTime().clock(), roomy)
			credential := challenge.Credential{AKName: keyName(1), EK: ekOf(1)}
			if err := store.InsertAppraisal(t.Context(), shows("default", credential, before, nil)); err != nil {
				t.Fatal(err)
			}
			err := store.InsertAppraisal(t.Context(), shows("default", credential, row.seen, &before))
			if got := known(t, store, credential); err != nil || !reflect.DeepEqual(got.State, row.want) {
				t.Errorf("got %+v, %v; want %+v", got.State, err, row.want)
			}
		})
	}
}

// neg: 76
func TestAVerdictThatAnotherOneOvertookIsNotStored(t *testing.T) {
	store := fresh(t, newFakeTime().clock(), roomy)
	credential := challenge.Credential{AKName: keyName(1), EK: ekOf(1)}
	first, second := stateAt(1, 10), stateAt(1, 20)
	for _, row := range []challenge.Answered{
		shows("default", credential, first, nil), shows("default", credential, second, &first),
	} {
		if err := store.InsertAppraisal(t.Context(), row); err != nil {
			t.Fatal(err)
		}
	}
	late := shows("default", credential, stateAt(1, 15), &first)
	var moved *challenge.MovedError
	if err := store.InsertAppraisal(t.Context(), late); !errors.As(err, &moved) || moved.State.Clock != 20 {
		t.Fatalf("got %v, want that the state moved to clock 20", err)
	}
	if _, found, _ := store.Appraisal(t.Context(), late.ID); found {
		t.Error("the verdict was stored")
	}
	first15 := shows("default", credential, stateAt(1, 15), nil)
	if err := store.InsertAppraisal(t.Context(), first15); !errors.As(err, &moved) {
		t.Errorf("a verdict for an unknown key: got %v, want that the state moved", err)
	}
	late.Seen.State = stateAt(1, 25) // forward of both is forward
	if err := store.InsertAppraisal(t.Context(), late); err != nil {
		t.Error(err)
	}
}

func TestOfManyAtOnceTheFurthestStateStays(t *testing.T) {
	store := fresh(t, newFakeTime().clock(), roomy)
	credential := challenge.Credential{AKName: keyName(1), EK: ekOf(1)}
	var group sync.WaitGroup
	for clock := range uint64(64) {
		group.Go(func() {
			err := store.InsertAppraisal(context.Background(), shows("default", credential, stateAt(1, clock+1), nil))
			var moved *challenge.MovedError
			if err != nil && (!errors.As(err, &moved) || moved.State.Clock < clock+1) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := known(t, store, credential); got.State.Clock != 64 {
		t.Errorf("clock is %d, want 64", got.State.Clock)
	}
}

func TestAnEarlierActivationMustStillBeKnown(t *testing.T) {
	store := fresh(t, newFakeTime().clock(), roomy)
	credential := challenge.Credential{AKName: keyName(1), EK: ekOf(1), Earlier: true}
	if err := store.InsertAppraisal(t.Context(), shows("default", credential, stateAt(1, 1), nil)); !isConflict(err) {
		t.Errorf("got %v, want a conflict", err)
	}
}

func TestAnActivationIsRememberedFromItsAnswerOn(t *testing.T) {
	moving := newFakeTime()
	store := fresh(t, moving.clock(), roomy)
	credential := challenge.Credential{AKName: keyName(1), EK: ekOf(1)}
	began := store.Now()
	for i, row := range []struct {
		earlier bool
		want    time.Duration
	}{{false, 0}, {true, 0}, {false, 2 * time.Minute}} {
		credential.Earlier = row.earlier
		err := store.InsertAppraisal(t.Context(), shows("default", credential, stateAt(1, uint64(i+1)), nil)) //nolint:gosec // three
		if err != nil {
			t.Fatal(err)
		}
		moving.pass(time.Minute)
		if got := known(t, store, credential); !got.ActivatedAt.Equal(began.Add(row.want)) {
			t.Errorf("row %d: activated at %s, want %s", i, got.ActivatedAt, began.Add(row.want))
		}
	}
}

func TestKeysAreBoundedAndTheLongestUnseenIsForgotten(t *testing.T) {
	moving := newFakeTime()
	store := fresh(t, moving.clock(), roomy)
	show := func(name, ek byte) {
		t.Helper()
		moving.pass(time.Second)
		credential := challenge.Credential{AKName: keyName(name), EK: ekOf(ek)}
		if err := store.InsertAppraisal(t.Context(), shows("default", credential, stateAt(1, uint64(name)), nil)); err != nil {
			t.Fatal(err)
		}
	}
	knows := func(name, ek byte) bool {
		t.Helper()
		ok, err := store.KnowsKey(t.Context(), "default", keyName(name), ekOf(ek))
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	show(200, 2)
	for n := range byte(registry.PerEndorsementKey) {
		show(n+1, 1)
	}
	show(1, 1) // seen again: no longer the oldest
	show(100, 1)
	if !knows(1, 1) || knows(2, 1) || !knows(3, 1) || !knows(100, 1) || !knows(200, 2) {
		t.Error("of one endorsement key, another than the longest unseen was forgotten")
	}
	if err := store.BoundKeys(registry.PerEndorsementKey + 1); err != nil {
		t.Fatal(err)
	}
	show(201, 3)
	if knows(200, 2) || !knows(201, 3) || !knows(3, 1) {
		t.Error("of all keys, another than the longest unseen was forgotten")
	}
}

func TestKeysAreBoundedOverARestart(t *testing.T) {
	path, moving := filepath.Join(t.TempDir(), "attestd.db"), newFakeTime()
	show := func(store *registry.Store, n byte) {
		t.Helper()
		moving.pass(time.Second)
		credential := challenge.Credential{AKName: keyName(n), EK: ekOf(n)}
		if err := store.InsertAppraisal(t.Context(), shows("default", credential, stateAt(1, 1), nil)); err != nil {
			t.Fatal(err)
		}
	}
	store := open(t, path, moving.clock(), roomy)
	show(store, 1)
	show(store, 2)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store = open(t, path, moving.clock(), roomy)
	if err := store.BoundKeys(2); err != nil {
		t.Fatal(err)
	}
	show(store, 3)
	for n, want := range map[byte]bool{1: false, 2: true, 3: true} {
		if got, err := store.KnowsKey(t.Context(), "default", keyName(n), ekOf(n)); err != nil || got != want {
			t.Errorf("key %d is known: %t, %v; want %t", n, got, err, want)
		}
	}
}

// TestAKeySeenInTheFutureKeepsTheStoreShut: keys outlive challenges and verdicts, and the order in which
// they are forgotten is one of times.
func TestAKeySeenInTheFutureKeepsTheStoreShut(t *testing.T) {
	path, moving := filepath.Join(t.TempDir(), "attestd.db"), newFakeTime()
	store := open(t, path, moving.clock(), roomy)
	credential := challenge.Credential{AKName: keyName(1), EK: ekOf(1)}
	if err := store.InsertAppraisal(t.Context(), shows("default", credential, stateAt(1, 1), nil)); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	database, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"challenges", "appraisals", "pulse"} {
		if _, err := database.Exec("DELETE FROM " + table); err != nil {
			t.Fatal(err)
		}
	}
	_ = database.Close()
	moving.step(-24 * time.Hour)
	config := registry.Config{Path: path, Clock: moving.clock(), Limits: roomy}
	if store, err := registry.Open(t.Context(), config); err == nil {
		_ = store.Close()
		t.Error("the store was opened a day before its newest row")
	}
}

func TestRoomIsRefusedWhereAChallengeWouldBe(t *testing.T) {
	limits := roomy
	limits.PerSource = 1
	store := fresh(t, newFakeTime().clock(), limits)
	if err := store.Room(t.Context(), "default", "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	insert(t, store)
	var caller *attestd.CallerError
	if err := store.Room(t.Context(), "default", "192.0.2.1"); !errors.As(err, &caller) ||
		caller.Class != attestd.ClassRateLimited {
		t.Errorf("got %v, want RATE_LIMITED", err)
	}
	if err := store.Room(t.Context(), "default", "192.0.2.2"); err != nil {
		t.Error(err)
	}
}

// TestADatabaseOfTheFirstVersionIsBroughtUp: rows of before stay what they were.
func TestADatabaseOfTheFirstVersionIsBroughtUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	moving := newFakeTime()
	store := open(t, path, moving.clock(), roomy)
	waiting := insert(t, store)
	_ = store.Close()
	database, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{
		"00004_records.sql", "00003_subjects.sql", "00002_attestation_keys.sql",
	} {
		text, err := os.ReadFile(filepath.Join("migrations", file))
		if err != nil {
			t.Fatal(err)
		}
		_, down, _ := strings.Cut(string(text), "-- +goose Down")
		if _, err := database.Exec(down); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := database.Exec("DELETE FROM goose_db_version WHERE version_id > 1"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path + ".guard"); err != nil { // that version had none
		t.Fatal(err)
	}
	_ = database.Close()
	store = open(t, path, moving.clock(), roomy)
	if got := consume(t, store, useOf(waiting), challenge.Consumed); fmt.Sprint(got) != fmt.Sprint(waiting) {
		t.Errorf("got %+v, want %+v", got, waiting)
	}
}
