package registry_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/registry/live"
)

// bench is a store whose database fails as a test says, with a second connection that never does.
type bench struct {
	*testing.T
	*failing
	path   string
	store  *registry.Store
	index  *live.Index
	beside *sql.DB
	// run numbers what is tried, from 1.
	run int
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, failing: useFailing(t), path: filepath.Join(t.TempDir(), "attestd.db")}
	b.store, b.index = withIndex(t, b.path)
	b.store.Still()
	beside, err := sql.Open("sqlite", b.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = beside.Close() })
	b.beside = beside
	return b
}

// dump is all that the database holds.
func (b *bench) dump() string {
	b.Helper()
	return dumpOf(b.T, b.beside)
}

func dumpOf(t *testing.T, database *sql.DB) string {
	t.Helper()
	var out strings.Builder
	for _, table := range column(t, database, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name") {
		rows, err := database.QueryContext(context.Background(), fmt.Sprintf("SELECT * FROM %q", table))
		if err != nil {
			t.Fatal(err)
		}
		names, err := rows.Columns()
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		for rows.Next() {
			err = errors.Join(err, rows.Scan(into...))
			_, _ = fmt.Fprintf(&out, "%s %x\n", table, values)
		}
		if err := errors.Join(err, rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func column(t *testing.T, database *sql.DB, query string) (list []string) {
	t.Helper()
	rows, err := database.QueryContext(context.Background(), query)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			t.Fatal(err)
		}
		list = append(list, one)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		t.Fatal(err)
	}
	return list
}

// agrees wants what the store has in memory to be what is in the database.
func (b *bench) agrees(what string) {
	b.Helper()
	var subjects, bars int
	var leaves int64
	err := b.beside.QueryRowContext(context.Background(), `SELECT (SELECT count(*) FROM subjects),
		(SELECT count(*) FROM bars), (SELECT count(*) FROM audit_leaves)`).Scan(&subjects, &bars, &leaves)
	if err != nil {
		b.Fatal(err)
	}
	got := b.store.Health()
	if got.Subjects != subjects || got.Bars != bars || got.AuditSize != leaves {
		b.Fatalf("%s: the store counts %d subjects, %d holds and %d records, the database %d, %d and %d",
			what, got.Subjects, got.Bars, got.AuditSize, subjects, bars, leaves)
	}
	list, _, err := b.store.Subjects(context.Background(), everything())
	if err != nil {
		b.Fatal(err)
	}
	for _, one := range list {
		standing := b.index.Check(one.ID, b.store.Now())
		if standing.Generation != one.Generation || standing.Barred == "" && standing.State != one.State {
			b.Fatalf("%s: %s is %s of generation %d, in memory %s of %d",
				what, one.ID, one.State, one.Generation, standing.State, standing.Generation)
		}
	}
}

// told wants an error that says what the database said, and, where it is of the class of errors by
// which the service knows what it may answer, of that one.
func (b *bench) told(what string, err error) {
	b.Helper()
	if err == nil {
		b.Fatalf("%s: nobody was told", what)
	}
	var caller *attestd.CallerError
	if errors.As(err, &caller) && caller.Class != attestd.ClassConfig {
		b.Fatalf("%s: blamed on the caller: %v", what, err)
	}
	if !errors.Is(err, errDisk) && !strings.Contains(err.Error(), "struct {}") {
		b.Fatalf("%s: another error than that of the disk: %v", what, err)
	}
}

// fails makes the calls of an operation fail, the first, the second and so on until it makes no more. ready
// makes ready what the next run needs and returns the operation. It returns how often the
// operation was tried.
func (b *bench) fails(late bool, ready func() (run func() error)) int {
	b.Helper()
	for number := 1; ; number++ {
		b.run++
		run := ready()
		before := b.dump()
		b.watch(late, func(call int, what string) bool {
			return call == number && (!late || strings.HasPrefix(what, "exec "))
		})
		err := run()
		calls := b.calls
		failed := strings.Join(b.quiet(), "; ")
		switch {
		case failed == "" && err != nil:
			b.Fatalf("without a failure: %v", err)
		case failed == "" && calls < number:
			b.agrees("in the end")
			return number - 1
		case failed == "":
			continue // this call is none that can be late
		}
		b.told(failed, err)
		if after := b.dump(); after != before && failed != "exec COMMIT" {
			b.Fatalf("%s: something was left", failed)
		} else if late && failed == "exec COMMIT" && after == before {
			b.Fatal("a commit that was carried out late was not")
		}
		if late { // what became of it is known with the next one
			if err := b.store.Pulse(context.Background()); err != nil {
				b.Fatalf("%s: the store does not go on: %v", failed, err)
			}
		}
		b.agrees(failed)
	}
}

// failsOn makes everything fail from some call on, for this operation and the one after it; and then what
// is read anew after a commit that failed, one call of it at a time.
func (b *bench) failsOn(ready func() (run func() error)) {
	b.Helper()
	again := func(what string) {
		b.Helper()
		b.quiet()
		if err := b.store.Pulse(context.Background()); err != nil {
			b.Fatalf("%s: the store does not go on: %v", what, err)
		}
		b.agrees(what)
	}
	for number := 1; ; number++ {
		b.run++
		run := ready()
		before := b.dump()
		b.watch(false, func(call int, _ string) bool { return call >= number })
		err := run()
		if len(b.failed) == 0 {
			again("in the end")
			break
		}
		what := fmt.Sprintf("from call %d on", number)
		b.told(what, err)
		b.told(what+", a second time", b.store.Pulse(context.Background()))
		b.quiet()
		if b.dump() != before {
			b.Fatalf("%s: something was left", what)
		}
		again(what)
	}
	for _, late := range []bool{false, true} {
		for then := 1; ; then++ {
			b.run++
			run := ready()
			commit := 0
			b.watch(late, func(call int, what string) bool {
				if what == "exec COMMIT" {
					commit = call
				}
				return commit != 0 && (call == commit || call == commit+then)
			})
			err := run()
			failed := b.quiet()
			b.told("commit", err)
			again(strings.Join(failed, "; "))
			if len(failed) < 2 {
				break
			}
		}
	}
}

// isUndecided reports whether the service knows by the error that the store could not be asked.
func isUndecided(err error, into **attestd.UndecidedError) bool {
	return errors.As(err, into) && (*into).Class == attestd.ClassStoreUnavailable
}
