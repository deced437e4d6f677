package registry_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/registry"
)

func TestAPurgeLeavesNothingForTheNextOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	limits := registry.Limits{
		Outstanding: 1 << 20, PerTenant: 1 << 20, PerSource: 1 << 20, Appraisals: 1, KeepAppraisals: time.Hour,
	}
	moving := newFakeTime()
	store := open(t, path, moving.clock(), limits)
	beside, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = beside.Close() }()
	now := store.Now().UnixNano()
	if _, err := beside.ExecContext(t.Context(), `INSERT INTO challenges
		(id, nonce, trust_domain, verifier_key_id, tenant, purpose, format, source, issued_at, expires_at)
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
		SELECT i, zeroblob(32), 'd', 'k', 't', 'p', 'nitro', 's', ?1, ?1 + 1 FROM n`, now); err != nil {
		t.Fatal(err)
	}
	moving.pass(2 * time.Minute)
	if err := store.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := beside.QueryRowContext(t.Context(), "SELECT count(*) FROM challenges").Scan(&left); err != nil {
		t.Fatal(err)
	}
	if left != 0 {
		t.Errorf("%d of 12000 expired challenges are left", left)
	}
}

func TestAStoreWhoseFilesWereTakenAwayConsumesNothing(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"the database is removed": os.Remove,
		"the log is removed":      func(path string) error { return os.Remove(path + "-wal") },
		"the database is replaced": func(path string) error {
			copied, err := os.ReadFile(path)
			return errors.Join(err, os.Remove(path), os.WriteFile(path, copied, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "attestd.db")
			store := open(t, path, newFakeTime().clock(), roomy)
			issued := insert(t, store)
			if err := store.Pulse(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := harm(path); err != nil {
				t.Fatal(err)
			}
			if _, outcome, err := store.Consume(t.Context(), useOf(issued)); err == nil {
				t.Errorf("got outcome %d, want an error: the use is not durable", outcome)
			}
			if store.Pulse(t.Context()) == nil {
				t.Error("the store says that it takes durable writes")
			}
		})
	}
}

func TestADatabaseThatOthersCanReadIsNotOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil { //nolint:gosec // the point of the test
		t.Fatal(err)
	}
	_, err := registry.Open(t.Context(), registry.Config{Path: path, Clock: newFakeTime().clock(), Limits: roomy})
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig || caller.Hint == "" {
		t.Fatalf("got %v, want a CONFIG error with a hint", err)
	}
}

// neg: 155
func TestARestartUnderAnOldClockGivesNoExpiredChallengeBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	moving := newFakeTime()
	store := open(t, path, moving.clock(), roomy)
	issued := insert(t, store)
	moving.pass(80 * time.Second) // 20 s over its end
	if err := store.Pulse(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = store.Close()
	moving.step(-29 * time.Second) // little enough to start
	consume(t, open(t, path, moving.clock(), roomy), useOf(issued), challenge.Expired)
}

func TestOfOneChallengeThereIsOneAppraisal(t *testing.T) {
	store := fresh(t, newFakeTime().clock(), roomy)
	row := challenge.Answered{ID: "1", ChallengeID: "c", Tenant: "default", Document: []byte("{}")}
	if err := store.InsertAppraisal(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	row.ID = "2"
	if err := store.InsertAppraisal(t.Context(), row); err == nil {
		t.Error("a second appraisal of one challenge was stored")
	}
	// The failed commit harms nothing that comes after it.
	consume(t, store, useOf(insert(t, store)), challenge.Consumed)
}

func TestACancelledCallerGetsNoChallenge(t *testing.T) {
	store := fresh(t, newFakeTime().clock(), roomy)
	issued := insert(t, store)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if got, outcome, err := store.Consume(gone, useOf(issued)); err == nil || outcome == challenge.Consumed || got.ID != "" {
		t.Errorf("got %+v, %d, %v; want an error", got, outcome, err)
	}
}

func TestConsumeAndStoreCostTwoCommits(t *testing.T) {
	store := fresh(t, newFakeTime().clock(), roomy)
	issued := insert(t, store)
	before := store.Commits()
	consume(t, store, useOf(issued), challenge.Consumed)
	err := store.InsertAppraisal(t.Context(), challenge.Answered{ID: "1", ChallengeID: issued.ID, Document: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	if got := store.Commits() - before; got != 2 {
		t.Errorf("%d commits, want 2", got)
	}
}

func TestAClosedStoreIsOneFileAndItsGuard(t *testing.T) {
	folder := t.TempDir()
	store := open(t, filepath.Join(folder, "attestd.db"), newFakeTime().clock(), roomy)
	insert(t, store)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(folder, "*")); len(left) != 2 {
		t.Errorf("left behind: %v, want the database and its guard", left)
	}
}

func TestAClosedStoreRefuses(t *testing.T) {
	store := fresh(t, newFakeTime().clock(), roomy)
	_ = store.Close()
	if _, outcome, err := store.Consume(t.Context(), challenge.Use{ID: "x"}); err == nil || outcome != challenge.Unknown {
		t.Errorf("got %d, %v; want an error", outcome, err)
	}
}

func TestAStoreOfANewerVersionIsNotOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store := open(t, path, newFakeTime().clock(), roomy)
	_ = store.Close()
	database, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := database.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)"); err != nil {
		t.Fatal(err)
	}
	_ = database.Close()
	if _, err := registry.Open(t.Context(), registry.Config{Path: path, Clock: newFakeTime().clock(), Limits: roomy}); err == nil {
		t.Error("opened, want a refusal")
	}
}

func BenchmarkConsumeAndStore(b *testing.B) {
	store, err := registry.Open(b.Context(), registry.Config{
		Path: filepath.Join(b.TempDir(), "attestd.db"), Clock: registry.SystemClock(),
		Limits: registry.Limits{Outstanding: 1 << 30, PerTenant: 1 << 30, PerSource: 1 << 30, Appraisals: 1 << 30, KeepAppraisals: time.Hour},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	document := make([]byte, 8<<10)
	one := func() {
		issued := newChallenge(store.Now())
		if err := store.InsertChallenge(context.Background(), issuedFrom(issued, "x")); err != nil {
			b.Error(err)
		}
		if _, outcome, err := store.Consume(context.Background(), useOf(issued)); outcome != challenge.Consumed {
			b.Error(outcome, err)
		}
		err := store.InsertAppraisal(context.Background(), challenge.Answered{ID: issued.ID, ChallengeID: issued.ID, Document: document})
		if err != nil {
			b.Error(err)
		}
	}
	b.Run("one caller", func(b *testing.B) {
		for b.Loop() {
			one()
		}
	})
	b.Run("64 callers", func(b *testing.B) {
		b.SetParallelism(32)
		before := store.Commits()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				one()
			}
		})
		b.ReportMetric(float64(store.Commits()-before)/float64(b.N), "commits/op")
	})
}
