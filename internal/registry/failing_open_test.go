package registry_test

import (
	"context"
	"database/sql"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
)

// opens makes the calls of a start fail that have one of the words, one start each, until one makes no
// more; files makes ready the database of each.
func opens(
	t *testing.T, f *failing, config registry.Config, word string, files func() (path string),
) (places int) {
	t.Helper()
	for number := 1; ; number++ {
		config.Path, config.Index = files(), live.New()
		calls := 0
		f.watch(false, func(_ int, what string) bool {
			switch {
			// Goose begins and ends its transactions again after a second. What is taken back before
			// anything is read may be gone already.
			// And how many connections two readers make of a pool is not the same each time.
			case strings.HasPrefix(what, "open ") != (word == "open "):
				return false
			case what == "begin ", what == "commit ", what == "exec ROLLBACK":
				return false
			case !strings.Contains(what, word):
				return false
			}
			calls++
			return calls == number
		})
		store, err := registry.Open(t.Context(), config)
		failed := f.quiet()
		if len(failed) == 0 {
			if err != nil {
				t.Fatal(err)
			}
			if standing := config.Index.(*live.Index).Check(agentOf(1), store.Now()); standing.Generation != 1 {
				t.Errorf("opened without what is in it: %+v", standing)
			}
			_ = store.Close()
			return number - 1
		}
		if err == nil {
			_ = store.Close()
			t.Fatalf("%s: opened all the same", failed)
		}
		if !errors.Is(err, errDisk) && !strings.Contains(err.Error(), "struct {}") {
			t.Fatalf("%s: another error than that of the disk: %v", failed, err)
		}
	}
}

// neg: 179
func TestAStartWhoseDatabaseFailsAnywhereIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store, _ := withIndex(t, path)
	for _, err := range []error{
		store.Keep(t.Context(), accepted(1, 1, 0, store.Now())),
		store.Write(t.Context(), quarantine(store, 2)),
		store.InsertChallenge(t.Context(), issuedFrom(newChallenge(store.Now()), "192.0.2.1")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	_ = store.Close()
	f := useFailing(t)
	for _, word := range []string{"", "open "} {
		config := registry.Config{Clock: registry.SystemClock(), Limits: roomy}
		f.single = word == "open "
		if places := opens(t, f, config, word, func() string { return path }); places < 2 {
			t.Errorf("failed in %d places", places)
		}
	}
}

func TestAStartWhoseRowsHaveNoNumbersIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store := open(t, path, registry.SystemClock(), roomy)
	if err := store.Write(t.Context(), accepted(1, 1, 0, store.Now()).Write); err != nil {
		t.Fatal(err)
	}
	_ = store.Close()
	config := registry.Config{Path: path, Clock: registry.SystemClock(), Limits: roomy}
	f := useFailing(t)
	const tenant, evidenceAt = 1, 12
	for _, spoilt := range []int{tenant, evidenceAt} {
		f.spoils = func(column int) bool { return column == spoilt }
		places := opens(t, f, config, "row SELECT coalesce(id, fold)", func() string { return path })
		if places != 1 {
			t.Errorf("%d rows, want the one", places)
		}
	}
}

// neg: 185
func TestAStartFromAnOlderCopyWhoseDatabaseFailsAnywhereIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store, _ := withIndex(t, path)
	if err := store.Keep(t.Context(), accepted(1, 1, 0, store.Now())); err != nil {
		t.Fatal(err)
	}
	_ = store.Close()
	old := copyStore(t, path)
	store, _ = withIndex(t, path)
	if err := store.Write(t.Context(), quarantine(store, 2)); err != nil {
		t.Fatal(err)
	}
	_ = store.Close()
	guard := copyStore(t, path) + ".guard"
	config := registry.Config{Clock: registry.SystemClock(), Limits: roomy, AcceptRollback: true}
	f := useFailing(t)
	for _, word := range []string{"UPDATE meta", "DELETE FROM", "INTO audit_leaves"} {
		places := opens(t, f, config, word, func() string {
			restore(t, path, old)
			restore(t, path+".guard", guard)
			return path
		})
		if places == 0 {
			t.Errorf("nothing says %s", word)
		}
	}
}

// refuses wants a start to be refused with the word in the error.
func refuses(t *testing.T, config registry.Config, word string) {
	t.Helper()
	store, err := registry.Open(t.Context(), config)
	if err == nil {
		_ = store.Close()
		t.Fatalf("opened, want %q", word)
	}
	if !strings.Contains(err.Error(), word) {
		t.Errorf("got %v, want %q", err, word)
	}
}

func TestAStartWithoutWhatItNeedsIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	good := registry.Config{Path: path, Clock: registry.SystemClock(), Limits: roomy}
	for word, change := range map[string]func(*registry.Config){
		"a path and a clock":  func(c *registry.Config) { c.Path = "" },
		"a path and a clock ": func(c *registry.Config) { c.Clock = nil },
		"above zero":          func(c *registry.Config) { c.Limits.Outstanding = 0 },
		"above zero ":         func(c *registry.Config) { c.Limits.PerTenant = 0 },
		"above zero  ":        func(c *registry.Config) { c.Limits.PerSource = -1 },
		"above zero   ":       func(c *registry.Config) { c.Limits.Appraisals = 0 },
		"above zero    ":      func(c *registry.Config) { c.Limits.KeepAppraisals = 0 },
		"no such file":        func(c *registry.Config) { c.Path = filepath.Join(path, "..", "none", "attestd.db") },
	} {
		config := good
		change(&config)
		refuses(t, config, strings.TrimSpace(word))
	}
	if err := os.Mkdir(path+".guard", 0o700); err != nil {
		t.Fatal(err)
	}
	refuses(t, good, "is a directory")
}

func TestADatabaseThatForgetsIsNotOpened(t *testing.T) {
	f := useFailing(t)
	for word, edit := range map[string][2]string{
		`journal_mode "delete"`: {"journal_mode%28WAL%29", "user_version%280%29"},
		`synchronous 1`:         {"synchronous%28FULL%29", "synchronous%281%29"},
	} {
		f.edit = func(name string) string {
			if !strings.HasPrefix(name, ":") && !strings.Contains(name, edit[0]) && !strings.Contains(name, "query_only") {
				t.Errorf("%s does not ask for it", name)
			}
			return strings.ReplaceAll(name, edit[0], edit[1])
		}
		refuses(t, registry.Config{
			Path: filepath.Join(t.TempDir(), "attestd.db"), Clock: registry.SystemClock(), Limits: roomy,
		}, word)
	}
}

func TestAStartUnderWhichTheFilesChangeIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store := open(t, path, registry.SystemClock(), roomy)
	if err := store.Write(t.Context(), accepted(1, 1, 0, store.Now()).Write); err != nil {
		t.Fatal(err)
	}
	_ = store.Close()
	config := registry.Config{Path: path, Clock: registry.SystemClock(), Limits: roomy, Index: &stopping{
		stop: func() {
			if err := os.Remove(path + "-wal"); err != nil {
				t.Error(err)
			}
		},
	}}
	// It is gone, or a connection that was opened since made another.
	refuses(t, config, "attestd.db-wal")

	f := useFailing(t)
	config.Index, f.plain = live.New(), true
	refuses(t, config, "want one that can be queried")
	f.plain = false

	registry.UseDriver(t, "none")
	refuses(t, config, `unknown driver "none"`)
}

// stopping is an index that ends the start it is loaded in.
type stopping struct {
	live.Index
	stop func()
	err  error
}

func (x *stopping) Load(
	_ time.Time, subjects iter.Seq2[subject.Subject, error], _ iter.Seq2[subject.Bar, error],
) error {
	for range subjects {
		x.stop()
		break
	}
	return x.err
}

func TestAStartThatIsEndedLeavesNothingRunning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store := open(t, path, registry.SystemClock(), roomy)
	if err := store.Write(t.Context(), accepted(1, 1, 0, store.Now()).Write); err != nil {
		t.Fatal(err)
	}
	_ = store.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	config := registry.Config{
		Path: path, Clock: registry.SystemClock(), Limits: roomy, Index: &stopping{stop: cancel},
	}
	if _, err := registry.Open(ctx, config); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the start was ended", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := registry.Open(ended, config); !errors.Is(err, context.Canceled) ||
		!strings.Contains(err.Error(), "store version") {
		t.Errorf("got %v, want that the version was not found out", err)
	}
}

// A start that is given up does not read a million subjects first.
func TestAStartThatFailsReadsNoFurther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store := open(t, path, registry.SystemClock(), roomy)
	const all = 30000
	write := accepted(1, 1, 0, store.Now()).Write
	one := write.Subjects[0]
	write.Subjects, write.Unbarred = nil, nil
	for fold := range all / 2 {
		one.Next.ID, one.Next.Instance.Value = agentOf(fold), ""
		write.Subjects = append(write.Subjects, one)
	}
	for part := range 2 {
		for i := range write.Subjects {
			write.Subjects[i].Next.ID = agentOf(part*all + i)
		}
		if err := store.Write(t.Context(), write); err != nil {
			t.Fatal(err)
		}
	}
	_ = store.Close()
	f := useFailing(t)
	f.rows = 0
	refuses(t, registry.Config{
		Path: path, Clock: registry.SystemClock(), Limits: roomy,
		Index: &stopping{stop: func() {}, err: errDisk},
	}, errDisk.Error())
	if f.rows == 0 || f.rows >= all {
		t.Errorf("read %d rows of %d", f.rows, all)
	}
}

func TestWhatTheDiskMadeOfARowIsNotTaken(t *testing.T) {
	for statement, word := range map[string]string{
		"UPDATE subjects SET state = 9":     "state 9 of a subject is none",
		"UPDATE subjects SET signals = 'x'": "signals of a subject",
	} {
		path := filepath.Join(t.TempDir(), "attestd.db")
		store := open(t, path, registry.SystemClock(), roomy)
		if err := store.Write(t.Context(), accepted(1, 1, 0, store.Now()).Write); err != nil {
			t.Fatal(err)
		}
		changes(t, path, statement)
		_ = store.Close()
		refuses(t, registry.Config{
			Path: path, Clock: registry.SystemClock(), Limits: roomy, Index: live.New(),
		}, word)
	}
}

// changes changes a database beside the store, without the checks that it has.
func changes(t *testing.T, path, statement string) {
	t.Helper()
	beside, err := sql.Open("sqlite", path+"?_pragma=ignore_check_constraints(1)&_pragma=busy_timeout(5000)")
	if err == nil {
		_, err = beside.ExecContext(t.Context(), statement)
	}
	if err = errors.Join(err, beside.Close()); err != nil {
		t.Fatal(statement, err)
	}
}

func TestMigrationsThatAreNotThereAreRefused(t *testing.T) {
	database, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = database.Close() }()
	if err := registry.Migrate(t.Context(), database, fstest.MapFS{}); err == nil {
		t.Error("a database without migrations is up to date")
	}
}

func TestAGuardThatCannotBeReadOrWrittenIsNoGuard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "guard")
	if err := os.WriteFile(path, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		path string
		flag int
		call func(*os.File) error
		want string
	}{
		{path, os.O_WRONLY, registry.ReadGuard, "bad file descriptor"},
		{path, os.O_RDONLY, registry.ReadGuard, "is damaged"},
		{path, os.O_RDONLY, registry.WriteGuard, "bad file descriptor"},
		{os.DevNull, os.O_WRONLY, registry.WriteGuard, "sync"},
	} {
		file, err := os.OpenFile(row.path, row.flag, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := row.call(file); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("got %v, want %q", err, row.want)
		}
		_ = file.Close()
	}
}

func TestAStartWhoseGuardCannotBeWrittenIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	_ = open(t, path, registry.SystemClock(), roomy).Close()
	database, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = database.Close() }()
	file, err := os.Open(path + ".guard")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	err = registry.DemandNewest(t.Context(), database, file)
	if err == nil || !strings.Contains(err.Error(), "guard of the store") {
		t.Errorf("got %v, want that the guard cannot be written", err)
	}
}
