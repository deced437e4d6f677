package registry_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/registry"
)

// fakeTime is a wall clock and a monotonic clock that move as a test says.
type fakeTime struct {
	mu      sync.Mutex
	wall    time.Time
	elapsed time.Duration
}

func newFakeTime() *fakeTime {
	return &fakeTime{wall: time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)}
}

func (f *fakeTime) clock() *registry.Clock {
	return registry.NewClock(
		func() time.Time { f.mu.Lock(); defer f.mu.Unlock(); return f.wall },
		func() time.Duration { f.mu.Lock(); defer f.mu.Unlock(); return f.elapsed })
}

// pass lets time pass on both clocks; step moves the wall clock alone.
func (f *fakeTime) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wall, f.elapsed = f.wall.Add(d), f.elapsed+d
}

func (f *fakeTime) step(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wall = f.wall.Add(d)
}

var roomy = registry.Limits{
	Outstanding: 1000, PerTenant: 1000, PerSource: 1000, Appraisals: 1000, KeepAppraisals: time.Hour,
}

func open(t *testing.T, path string, clock *registry.Clock, limits registry.Limits) *registry.Store {
	t.Helper()
	store, err := registry.Open(t.Context(), registry.Config{Path: path, Clock: clock, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func fresh(t *testing.T, clock *registry.Clock, limits registry.Limits) *registry.Store {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "a store.db"), clock, limits)
}

func newChallenge(now time.Time) attestd.Challenge {
	nonce := make([]byte, 32)
	_, _ = rand.Read(nonce)
	return attestd.Challenge{
		ID: rand.Text(), Nonce: nonce, TrustDomain: "example.org", VerifierKeyID: "k1", Tenant: "default",
		Purpose: "verify", Format: attestd.FormatNitro, IssuedAt: now, ExpiresAt: now.Add(time.Minute),
	}
}

func insert(t *testing.T, store *registry.Store) attestd.Challenge {
	t.Helper()
	made := newChallenge(store.Now())
	if err := store.InsertChallenge(t.Context(), issuedFrom(made, "192.0.2.1")); err != nil {
		t.Fatal(err)
	}
	return made
}

func issuedFrom(made attestd.Challenge, source string) challenge.Issued {
	return challenge.Issued{Challenge: made, Source: source}
}

func useOf(c attestd.Challenge) challenge.Use {
	return challenge.Use{
		ID: c.ID, Tenant: c.Tenant, Purpose: c.Purpose, Format: c.Format,
	}
}

func consume(t *testing.T, store *registry.Store, use challenge.Use, want challenge.Outcome) attestd.Challenge {
	t.Helper()
	got, outcome, err := store.Consume(t.Context(), use)
	if err != nil {
		t.Fatal(err)
	}
	if outcome != want {
		t.Fatalf("got outcome %d, want %d", outcome, want)
	}
	return got.Challenge
}

func TestAChallengeComesBackOnceAsItWasStored(t *testing.T) {
	store := fresh(t, newFakeTime().clock(), roomy)
	want := insert(t, store)
	got := consume(t, store, useOf(want), challenge.Consumed)
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if again := consume(t, store, useOf(want), challenge.UsedBefore); again.Nonce != nil {
		t.Error("a used challenge came back with its nonce")
	}
}

// neg: 152
func TestOfManyWhoHandInOneChallengeExactlyOneGetsIt(t *testing.T) {
	store := fresh(t, newFakeTime().clock(), roomy)
	for range 20 {
		use := useOf(insert(t, store))
		var won atomic.Int64
		var group sync.WaitGroup
		for range 64 {
			group.Go(func() {
				if _, outcome, err := store.Consume(context.Background(), use); err == nil && outcome == challenge.Consumed {
					won.Add(1)
				}
			})
		}
		group.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d callers consumed one challenge, want 1", won.Load())
		}
	}
}

// neg: 154
func TestAChallengeOfAnotherTenantPurposeOrFormatIsRefusedAndLeftAlone(t *testing.T) {
	store := fresh(t, newFakeTime().clock(), roomy)
	issued := insert(t, store)
	for name, change := range map[string]func(*challenge.Use){
		"another tenant":  func(u *challenge.Use) { u.Tenant = "other" },
		"another purpose": func(u *challenge.Use) { u.Purpose = "node-attestation" },
		"another format":  func(u *challenge.Use) { u.Format = attestd.FormatSEVSNP },
	} {
		t.Run(name, func(t *testing.T) {
			use := useOf(issued)
			change(&use)
			consume(t, store, use, challenge.Foreign)
		})
	}
	consume(t, store, useOf(issued), challenge.Consumed)
}

// neg: 155
func TestAChallengeDiesOnTimeWhateverTheWallClockDoes(t *testing.T) {
	for name, row := range map[string]struct {
		move func(*fakeTime)
		want challenge.Outcome
	}{
		"alive 1 ms before its end": {
			func(f *fakeTime) { f.pass(time.Minute - time.Millisecond) }, challenge.Consumed,
		},
		"dead at its end": {func(f *fakeTime) { f.pass(time.Minute) }, challenge.Expired},
		"dead 1 ms after its end": {
			func(f *fakeTime) { f.pass(time.Minute + time.Millisecond) }, challenge.Expired,
		},
		"dead although the wall clock went back an hour": {
			func(f *fakeTime) { f.step(-time.Hour); f.pass(time.Minute + time.Millisecond) }, challenge.Expired,
		},
		"dead although the wall clock stands still": {
			func(f *fakeTime) { f.pass(time.Minute); f.step(-time.Minute) }, challenge.Expired,
		},
		"dead early where the wall clock jumps ahead": {
			func(f *fakeTime) { f.step(time.Hour) }, challenge.Expired,
		},
	} {
		t.Run(name, func(t *testing.T) {
			moving := newFakeTime()
			store := fresh(t, moving.clock(), roomy)
			issued := insert(t, store)
			row.move(moving)
			consume(t, store, useOf(issued), row.want)
		})
	}
}

// neg: 157
func TestARestartForgetsNoChallengeAndNoUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	moving := newFakeTime()
	store := open(t, path, moving.clock(), roomy)
	waiting, used := insert(t, store), insert(t, store)
	consume(t, store, useOf(used), challenge.Consumed)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store = open(t, path, moving.clock(), roomy)
	consume(t, store, useOf(used), challenge.UsedBefore)
	consume(t, store, useOf(waiting), challenge.Consumed)
	consume(t, store, challenge.Use{ID: "lost", Tenant: "default", Purpose: "verify", Format: "nitro"}, challenge.Unknown)
}

// neg: 157
func TestACrashForgetsNoUse(t *testing.T) {
	folder := t.TempDir()
	moving := newFakeTime()
	store := open(t, filepath.Join(folder, "attestd.db"), moving.clock(), roomy)
	waiting, used := insert(t, store), insert(t, store)
	consume(t, store, useOf(used), challenge.Consumed)
	crashed := t.TempDir() // the files as they are on disk while the store is open
	if err := os.CopyFS(crashed, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(crashed, "attestd.db"), 0o600); err != nil {
		t.Fatal(err)
	}
	store = open(t, filepath.Join(crashed, "attestd.db"), moving.clock(), roomy)
	consume(t, store, useOf(used), challenge.UsedBefore)
	consume(t, store, useOf(waiting), challenge.Consumed)
}

// neg: 159
func TestAStoreFromTheFutureIsNotOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	moving := newFakeTime()
	store := open(t, path, moving.clock(), roomy)
	insert(t, store)
	_ = store.Close()
	moving.step(-24 * time.Hour)
	_, err := registry.Open(t.Context(), registry.Config{Path: path, Clock: moving.clock(), Limits: roomy})
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig || caller.Hint == "" {
		t.Fatalf("got %v, want a CONFIG error with a hint", err)
	}
	moving.step(48 * time.Hour) // ahead is no harm: everything has expired
	consume(t, open(t, path, moving.clock(), roomy), challenge.Use{ID: "any", Tenant: "t"}, challenge.Unknown)
}

// neg: 158
func TestUnansweredChallengesAreBoundedPerSourceTenantAndInAll(t *testing.T) {
	limits := roomy
	limits.PerSource, limits.PerTenant, limits.Outstanding = 2, 3, 4
	moving := newFakeTime()
	store := fresh(t, moving.clock(), limits)
	put := func(tenant, source string) error {
		made := newChallenge(store.Now())
		made.Tenant = tenant
		return store.InsertChallenge(t.Context(), issuedFrom(made, source))
	}
	for i, row := range []struct {
		tenant, source string
		limited        bool
	}{
		{"a", "192.0.2.1", false},
		{"a", "192.0.2.1", false},
		{"a", "192.0.2.1", true},  // the source is full
		{"a", "192.0.2.2", false}, // another is not
		{"a", "192.0.2.3", true},  // the tenant is full
		{"b", "192.0.2.3", false}, // another is not
		{"b", "192.0.2.4", true},  // the store is full
	} {
		err := put(row.tenant, row.source)
		var caller *attestd.CallerError
		if limited := errors.As(err, &caller) && caller.Class == attestd.ClassRateLimited; limited != row.limited {
			t.Errorf("row %d: got %v, want limited %t", i, err, row.limited)
		}
	}
	moving.pass(time.Minute)
	if err := store.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := put("a", "192.0.2.1"); err != nil {
		t.Errorf("after all expired: %v", err)
	}
}

func TestAConsumedChallengeMakesRoom(t *testing.T) {
	limits := roomy
	limits.PerSource = 1
	store := fresh(t, newFakeTime().clock(), limits)
	for range 3 {
		consume(t, store, useOf(insert(t, store)), challenge.Consumed)
	}
}

func TestPurgeRemovesWhatIsLongExpiredAndWhatIsTooMuch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	limits := roomy
	limits.Appraisals = 3
	moving := newFakeTime()
	store := open(t, path, moving.clock(), limits)
	issued := insert(t, store)
	for i := range 5 {
		err := store.InsertAppraisal(t.Context(), challenge.Answered{
			ID: fmt.Sprint(i), ChallengeID: fmt.Sprint(i), Tenant: "default", Document: []byte("{}"),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	left := func() (ids string) {
		for i := range 5 {
			if _, found, err := store.Appraisal(t.Context(), fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			} else if found {
				ids += fmt.Sprint(i)
			}
		}
		return ids
	}
	for _, row := range []struct {
		pass    time.Duration
		outcome challenge.Outcome
		left    string
	}{
		{time.Minute, challenge.Expired, "234"},
		{time.Minute + time.Millisecond, challenge.Unknown, "234"},
		{time.Hour, challenge.Unknown, ""},
	} {
		moving.pass(row.pass)
		if err := store.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		consume(t, store, useOf(issued), row.outcome)
		if got := left(); got != row.left {
			t.Errorf("appraisals %q are left, want %q", got, row.left)
		}
	}
}
