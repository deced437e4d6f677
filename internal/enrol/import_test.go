package enrol_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// csvOf is a list of the machines with those numbers.
func csvOf(numbers ...int) []byte {
	var doc strings.Builder
	doc.WriteString("kind,value,label\n")
	for _, number := range numbers {
		fmt.Fprintf(&doc, "instance,%s,host %d\n", ek(number).Value, number)
	}
	return []byte(doc.String())
}

func listOf(document []byte, edit func(*wire.Import)) wire.Import {
	ask := wire.Import{Kind: "csv", Tenant: "blue", Document: document, Source: "rack-3.csv"}
	if edit != nil {
		edit(&ask)
	}
	return ask
}

func TestAnImportEnrols(t *testing.T) {
	b := newBench(t, nil, waiting(ek(1), "default"), approved(ek(2), "blue"))
	list := listOf(csvOf(1, 2, 3), nil)
	trial := list
	trial.DryRun = true
	done, err := b.Import(t.Context(), root, trial)
	if err != nil || done.Added != 1 || done.Updated != 2 || b.store.writes != 0 || len(done.Entries) != 3 {
		t.Fatalf("a trial: %+v, %v, %d writes", done, err, b.store.writes)
	}
	done, err = b.Import(t.Context(), root, list)
	if err != nil || done.Added != 1 || done.Updated != 2 || done.Same != 0 || len(done.Problems) != 0 {
		t.Fatalf("got %+v, %v", done, err)
	}
	for number := 1; number <= 3; number++ {
		row := b.store.row(ek(number))
		if !row.Owns(clock) || row.Tenant != "blue" || row.Method != subject.MethodInventory ||
			row.Label != fmt.Sprintf("host %d", number) || row.By != "root" || row.Source != "rack-3.csv" {
			t.Errorf("machine %d: %+v", number, row)
		}
	}
	record := b.store.log[0]
	if len(b.store.log) != 1 || record.Action != "enroll.import" || record.Tenant != "blue" ||
		record.Detail["added"] != "1" || len(record.Detail["sha256"]) != 64 {
		t.Errorf("audit: %+v", b.store.log)
	}
	if done, err = b.Import(t.Context(), root, list); err != nil || done.Same != 3 || b.store.writes != 1 {
		t.Errorf("once more: %+v, %v, %d writes", done, err, b.store.writes)
	}
	cloud := listOf([]byte(gce), func(i *wire.Import) { i.Kind, i.ExpiresAt = "gce", clock.Add(time.Hour) })
	if done, err = b.Import(t.Context(), blue, cloud); err != nil || done.Added != 1 ||
		done.Entries[0].Method != subject.MethodCloud || !done.Entries[0].ExpiresAt.Equal(clock.Add(time.Hour)) {
		t.Errorf("a cloud's list: %+v, %v", done, err)
	}
}

func TestAnImportWithAnythingWrongEnrolsNothing(t *testing.T) {
	denied := approved(ek(5), "blue")
	denied.Status = subject.StatusDenied
	rows := []subject.Ownership{denied, approved(ek(6), "default")}
	for _, row := range []struct {
		name    string
		who     operator.Principal
		list    wire.Import
		class   attestd.Class
		problem string
	}{
		{name: "a line that cannot be read", who: root, list: listOf(append(csvOf(1), "ek,x,y\n"...), nil),
			problem: "line 3"},
		{name: "a machine that was denied", who: root, list: listOf(csvOf(1, 5), nil), problem: "line 3: " + ek(5).String() + " is denied"},
		{name: "another tenant's machine, seen by one who may", who: root, list: listOf(csvOf(1, 6), nil),
			problem: "belongs to tenant default"},
		{name: "another tenant's machine, whose it does not say", who: blue, list: listOf(csvOf(1, 6), nil),
			problem: "cannot be enrolled by you"},
		{name: "a machine whose time is over", who: root,
			list: listOf([]byte("kind,value,expires_at\nek,"+eks+",2026-11-23T12:00:00Z\n"), nil), problem: "over already"},
		{name: "a list whose time is over", who: root, class: attestd.ClassMalformed,
			list: listOf(csvOf(1), func(i *wire.Import) { i.ExpiresAt = clock })},
		{name: "a list of no kind", who: root, class: attestd.ClassMalformed,
			list: listOf(csvOf(1), func(i *wire.Import) { i.Kind = "xlsx" })},
		{name: "a list without a name", who: root, class: attestd.ClassMalformed,
			list: listOf(csvOf(1), func(i *wire.Import) { i.Source = "" })},
		{name: "a name that would forge a line of the log", who: root, class: attestd.ClassMalformed,
			list: listOf(csvOf(1), func(i *wire.Import) { i.Source = "a\nb" })},
		{name: "for a tenant that there is not", who: root, class: attestd.ClassForbidden,
			list: listOf(csvOf(1), func(i *wire.Import) { i.Tenant = "red" })},
		{name: "for another's tenant", who: blue, class: attestd.ClassForbidden,
			list: listOf(csvOf(1), func(i *wire.Import) { i.Tenant = "default" })},
		{name: "by one who only watches", who: watcher, class: attestd.ClassForbidden, list: listOf(csvOf(1), nil)},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBench(t, nil, rows...)
			done, err := b.Import(t.Context(), row.who, row.list)
			text := strings.Join(done.Problems, "\n")
			if classOf(err) != row.class || !strings.Contains(text, row.problem) || (row.problem == "") != (text == "") {
				t.Errorf("got %v and %q, want class %q and %q", err, text, row.class, row.problem)
			}
			if b.store.writes != 0 || b.store.count() != 2 || done.Added != 0 {
				t.Errorf("%d writes, %d rows, added %d", b.store.writes, b.store.count(), done.Added)
			}
			if strings.Contains(row.name, "does not say") && strings.Contains(text, "default") { // neg: 188
				t.Errorf("it says whose: %q", text)
			}
		})
	}
}

func TestAnImportSeesWhatChangesBeneathIt(t *testing.T) {
	b := newBench(t, nil, waiting(ek(1), "blue"))
	b.store.before = func() { // it asks again just now
		row := waiting(ek(1), "blue")
		row.Generation, row.Seen = 2, 9
		b.store.rows[ek(1)] = row
	}
	done, err := b.Import(t.Context(), root, listOf(csvOf(1, 2), nil))
	if err != nil || done.Added != 1 || done.Updated != 1 || b.store.row(ek(1)).Generation != 3 {
		t.Errorf("got %+v, %v", done, err)
	}
	b = newBench(t, nil)
	b.store.before = func() {
		if _, err := b.Deny(t.Context(), root, wire.Decide{Key: ek(2).String()}); err != nil {
			t.Error(err)
		}
	}
	_, err = b.Import(t.Context(), root, listOf(csvOf(1, 2), nil))
	if classOf(err) != attestd.ClassConflict || b.store.row(ek(2)).Status != subject.StatusDenied {
		t.Errorf("a denial beneath it: %v, and the row is %q", err, b.store.row(ek(2)).Status)
	}
}

func TestAnImportThatFailsHalfWayIsFinishedByTheNext(t *testing.T) {
	numbers := make([]int, 2500)
	for i := range numbers {
		numbers[i] = i
	}
	b := newBench(t, nil)
	full := errors.New("disk full")
	half := newBench(t, func(c *enrol.Config) { c.Store = &failing{memory: b.store, after: 2, err: full} })
	if _, err := half.Import(t.Context(), root, listOf(csvOf(numbers...), nil)); !errors.Is(err, full) { // neg: 179
		t.Fatalf("got %v", err)
	}
	if got := b.store.count(); got != 2000 {
		t.Fatalf("%d rows, want two parts", got)
	}
	done, err := b.Import(t.Context(), root, listOf(csvOf(numbers...), nil))
	if err != nil || done.Added != 500 || done.Same != 2000 || len(done.Entries) != 100 {
		t.Errorf("got %d added, %d as they were: %v", done.Added, done.Same, err)
	}
}

// failing is a store that is full after some writes.
type failing struct {
	*memory
	after int
	err   error
}

func (f *failing) Write(ctx context.Context, write subject.Write) error {
	if f.after--; f.after < 0 {
		return f.err
	}
	return f.memory.Write(ctx, write)
}
