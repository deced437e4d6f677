package registry_test

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/subject"
)

// reopen opens a store on files as they are, and returns the error.
func reopen(t *testing.T, path string, accept bool) (*registry.Store, error) {
	t.Helper()
	store, err := registry.Open(t.Context(), registry.Config{
		Path: path, Clock: registry.SystemClock(), Limits: roomy, AcceptRollback: accept,
	})
	if err == nil {
		t.Cleanup(func() { _ = store.Close() })
	}
	return store, err
}

func refusesToStart(t *testing.T, err error) {
	t.Helper()
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig || caller.Hint == "" {
		t.Errorf("got %v, want CONFIG with a hint", err)
	}
}

// neg: 185
func TestAnOlderDatabaseIsRefusedUntilAnOperatorConfirms(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, path, old string){
		"yesterday's copy": func(t *testing.T, path, old string) {
			restore(t, path, old)
		},
		"no database": func(t *testing.T, path, _ string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"another database": func(t *testing.T, path, _ string) {
			other := filepath.Join(t.TempDir(), "other.db")
			store := open(t, other, registry.SystemClock(), roomy)
			for range 50 {
				insert(t, store)
			}
			_ = store.Close()
			restore(t, path, other)
		},
		"the guard is removed": func(t *testing.T, path, _ string) {
			if err := os.Remove(path + ".guard"); err != nil {
				t.Fatal(err)
			}
		},
		"the guard is damaged": func(t *testing.T, path, _ string) {
			if err := os.WriteFile(path+".guard", make([]byte, 8192), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "attestd.db")
			store := open(t, path, registry.SystemClock(), roomy)
			issued := insert(t, store)
			_ = store.Close()
			old := copyStore(t, path)
			store = open(t, path, registry.SystemClock(), roomy)
			consume(t, store, useOf(issued), challenge.Consumed)
			_ = store.Close()

			harm(t, path, old)
			_, err := reopen(t, path, false)
			refusesToStart(t, err)
			confirmed, err := reopen(t, path, true)
			if err != nil {
				t.Fatal(err)
			}
			if !confirmed.Health().RolledBack {
				t.Error("nobody would see that this run goes on from an older copy")
			}
			leaves, size, err := confirmed.AuditEntries(t.Context(), 0, 10)
			if err != nil || size != 1 || !strings.Contains(string(leaves[0]), "store.rollback") {
				t.Errorf("%d records, %v; want the one of the roll-back", size, err)
			}
			// What the copy takes for unused was used.
			if _, outcome, err := confirmed.Consume(t.Context(), useOf(issued)); err != nil || outcome == challenge.Consumed {
				t.Errorf("a used nonce came back: %d, %v", outcome, err)
			}
			_ = confirmed.Close()
			if _, err := reopen(t, path, false); err != nil {
				t.Errorf("the next start asks again: %v", err)
			}
		})
	}
}

func restore(t *testing.T, path, from string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// neg: 185
func TestACopyFromBeforeOneAcknowledgedHoldIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store, _ := withIndex(t, path)
	if err := store.Keep(t.Context(), accepted(1, 1, 0, store.Now())); err != nil {
		t.Fatal(err)
	}
	before := copyStore(t, path)
	if err := store.Write(t.Context(), quarantine(store, 1)); err != nil {
		t.Fatal(err)
	}
	restore(t, before+".guard", path+".guard") // as it is in the moment of the acknowledgement
	_, err := reopen(t, before, false)
	refusesToStart(t, err)
}

// neg: 184
func TestTwoWritersDoNotShareAStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store, _ := withIndex(t, path)
	_, err := reopen(t, path, false)
	refusesToStart(t, err)
	// One that comes without asking is noticed at the next write.
	beside, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = beside.Close() }()
	if _, err := beside.ExecContext(t.Context(), "UPDATE meta SET commits = commits + 1"); err != nil {
		t.Fatal(err)
	}
	undecided(t, "verdict", store.Keep(t.Context(), accepted(1, 1, 0, store.Now())))
	_ = store.Close()
	if _, err := reopen(t, path, false); err != nil {
		t.Errorf("it stays away after it was closed: %v", err)
	}
}

// neg: 184
func TestAHalfDoneSchemaIsRefused(t *testing.T) {
	for name, statement := range map[string]string{
		"a table is missing":      "DROP TABLE bars",
		"an index is missing":     "DROP INDEX subjects_host",
		"a column is too many":    "ALTER TABLE bars ADD COLUMN x TEXT",
		"a trigger changes rows":  "CREATE TRIGGER free AFTER INSERT ON bars BEGIN DELETE FROM bars; END",
		"a table is left over":    "CREATE TABLE subjects_new (id TEXT)",
		"a version is from ahead": "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)",
		"a version is missing":    "DELETE FROM goose_db_version WHERE version_id = 3",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "attestd.db")
			_ = open(t, path, registry.SystemClock(), roomy).Close()
			database, err := sql.Open("sqlite", path)
			if err == nil {
				_, err = database.ExecContext(t.Context(), statement)
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = database.Close()
			_, err = reopen(t, path, false)
			refusesToStart(t, err)
		})
	}
}

// A token that was handed in after the copy was made must not be handed in again by whoever saw it.
// neg: 185
func TestAUsedTokenDoesNotComeBackWithAnOlderDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store := open(t, path, registry.SystemClock(), roomy)
	use := subject.TokenUse{ID: "t1", Secret: [32]byte{1}, By: subject.Key{Kind: "instance", Value: "a"}}
	record := []audit.Record{{At: store.Now(), Actor: "o", Action: "enroll.token", Outcome: "done"}}
	err := store.Write(t.Context(), subject.Write{Audit: record, NewToken: &subject.Token{
		ID: use.ID, Secret: use.Secret, Tenant: "blue", Formats: []string{"tpm"}, By: "o",
		CreatedAt: store.Now(), ExpiresAt: store.Now().Add(time.Hour),
	}})
	_ = store.Close()
	old := copyStore(t, path)
	store = open(t, path, registry.SystemClock(), roomy)
	if err := errors.Join(err, store.Write(t.Context(), subject.Write{Token: &use, Audit: record})); err != nil {
		t.Fatal(err)
	}
	_ = store.Close()
	restore(t, path, old)
	confirmed, err := reopen(t, path, true)
	if err != nil {
		t.Fatal(err)
	}
	use.By.Value = "b"
	var caller *attestd.CallerError
	err = confirmed.Write(t.Context(), subject.Write{Token: &use, Audit: record})
	if !errors.As(err, &caller) || caller.Class != attestd.ClassUnauthenticated {
		t.Errorf("a used token came back: %v", err)
	}
}
