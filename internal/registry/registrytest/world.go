package registrytest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/subject"
)

// world is a store with a clock that only a test moves, and an index that notes what it is told.
type world struct {
	*testing.T
	Store
	clock *registry.Clock
	index *index
	mu    sync.Mutex
	past  time.Duration
}

var morning = time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)

func (w *world) wall() time.Time { return morning.Add(w.elapsed()) }

func (w *world) elapsed() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.past
}

func (w *world) pass(by time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.past += by
}

// index notes what is published.
type index struct {
	mu       sync.Mutex
	subjects map[string]subject.Subject
	bars     map[subject.Key]subject.Bar
}

func (x *index) Load(
	_ time.Time, subjects iter.Seq2[subject.Subject, error], bars iter.Seq2[subject.Bar, error],
) error {
	x.subjects, x.bars = map[string]subject.Subject{}, map[subject.Key]subject.Bar{}
	for one, err := range subjects {
		if err != nil {
			return err
		}
		x.subjects[one.ID.Fold()] = one
	}
	for one, err := range bars {
		if err != nil {
			return err
		}
		x.bars[one.Key] = one
	}
	return nil
}

func (x *index) Publish(subjects []subject.Subject, bars []subject.BarWrite) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, one := range subjects {
		x.subjects[one.ID.Fold()] = one
	}
	for _, one := range bars {
		if delete(x.bars, one.Key); one.Next != nil {
			x.bars[one.Key] = *one.Next
		}
	}
}

func (x *index) subject(id subject.ID) subject.Subject {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.subjects[id.Fold()]
}

func (x *index) bar(key subject.Key) (subject.Bar, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	bar, found := x.bars[key]
	return bar, found
}

// everything is what sees all tenants.
var everything = []string{"*"}

func agent(name string) subject.ID { return subject.ID("spiffe://example.org/agent/" + name) }

// node is a subject of the tenant as accepted evidence leaves it.
func node(name, tenant string) subject.Subject {
	return subject.Subject{
		ID: agent(name), Tenant: tenant, Format: attestd.FormatTPM,
		Instance: attestd.Handle{Kind: attestd.HandleInstance, Value: "instance-" + name},
		Boot:     "boot-" + name, Host: "host-" + name, Ownership: subject.MethodInventory,
		State: attestd.StateTrusted, Epoch: 1, Floor: attestd.Risk(10), AppraisalID: "appraisal-" + name,
		Evidence: [32]byte{1}, Key: [32]byte{2}, FirstSeenAt: morning, EvidenceAt: morning.Add(1),
		ChangedAt: morning.Add(2), DueAt: morning.Add(time.Hour), Bad: 1, Good: 2,
		Signals: []subject.Signal{{
			Code: subject.CodeOverdue, Group: "age", Points: 7, Detail: "late", Source: "attestd", At: morning,
		}},
	}
}

// recorded returns a record of the log as every write has one.
func recorded(what string) []audit.Record {
	return []audit.Record{{At: morning, Actor: "ines", Tenant: "a", Action: what, Outcome: "done"}}
}

func put(next subject.Subject, expect uint64) subject.Write {
	return subject.Write{
		Subjects: []subject.SubjectWrite{{Expect: expect, Next: next}}, Audit: recorded("observe"),
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// write carries a write out that must succeed.
func (w *world) write(write subject.Write) {
	w.Helper()
	w.must(w.Write(context.Background(), write))
}

func (w *world) moved(err error) {
	w.Helper()
	if moved := (*subject.MovedError)(nil); !errors.As(err, &moved) {
		w.Errorf("got %v, want that it moved", err)
	}
}

func (w *world) barred(err error, state attestd.State) {
	w.Helper()
	barred := (*subject.BarredError)(nil)
	if !errors.As(err, &barred) || barred.Bar.State != state {
		w.Errorf("got %v, want that it is %s", err, state)
	}
}

func (w *world) class(err error, class attestd.Class) {
	w.Helper()
	caller := (*attestd.CallerError)(nil)
	if !errors.As(err, &caller) || caller.Class != class || caller.Hint == "" {
		w.Errorf("got %v, want %s with a hint", err, class)
	}
}

// same compares as texts, which tell times and numbers apart and not nil from empty.
func (w *world) same(what string, got, want any) {
	w.Helper()
	if g, want := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != want {
		w.Errorf("%s:\n got %s\nwant %s", what, g, want)
	}
}

func (w *world) bar(key subject.Key, state attestd.State) subject.Bar {
	return subject.Bar{
		Key: key, State: state, Subject: agent("x"), Tenant: "a", Code: subject.CodeOperator, Text: "odd",
		Ticket: "T-1", By: "ines", At: morning, Boot: "boot-x",
	}
}

func lay(bar subject.Bar, expect uint64) subject.Write {
	return subject.Write{
		Bars:  []subject.BarWrite{{Key: bar.Key, Expect: expect, Next: &bar}},
		Audit: recorded("quarantine"),
	}
}

func lift(key subject.Key, expect uint64) subject.Write {
	return subject.Write{Bars: []subject.BarWrite{{Key: key, Expect: expect}}, Audit: recorded("release")}
}

// held returns the bar on a key as the store has it.
func (w *world) held(key subject.Key) (subject.Bar, bool) {
	w.Helper()
	known, err := w.Known(context.Background(), subject.Ask{Bars: []subject.Key{key}})
	w.must(err)
	if len(known.Bars) == 0 {
		return subject.Bar{}, false
	}
	return known.Bars[0], true
}
