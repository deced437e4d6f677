package registry_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/subject"
)

const agentRag = "spiffe://example.org/agent/rag"

func listed(id string) *nhi.Record { return &nhi.Record{ID: id, Tenant: "blue", Policy: "standard"} }

func putting(store *registry.Store, expect uint64, next ...*nhi.Record) nhi.Write {
	write := nhi.Write{Audit: record(store)}
	for _, one := range next {
		write.Records = append(write.Records, nhi.RecordWrite{ID: one.ID, Expect: expect, Next: one})
	}
	return write
}

func TestRecordsAreKeptByTenantAndGeneration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	book := nhi.NewBook()
	open := func() *registry.Store {
		store, err := registry.Open(t.Context(), registry.Config{
			Path: path, Clock: registry.SystemClock(), Limits: roomy, Inventory: book,
		})
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	store := open()
	ctx := t.Context()
	green := &nhi.Record{ID: "spiffe://example.org/agent/z", Tenant: "green"}
	nobodys := &nhi.Record{ID: "github:acme/train.yml", Credential: nhi.CredentialPermanent}
	if err := store.WriteRecords(ctx, putting(store, 0, listed(agentRag), green, nobodys)); err != nil {
		t.Fatal(err)
	}
	if got, found := book.Record(agentRag); !found || got.Tenant != "blue" || got.Generation != 1 {
		t.Errorf("in memory there is %+v", got)
	}
	changed := listed(agentRag)
	changed.Owner = "team"
	if err := store.WriteRecords(ctx, putting(store, 1, changed)); err != nil {
		t.Fatal(err)
	}
	page := func(tenants []string, after string, limit int) ([]string, string) {
		list, next, err := store.Records(ctx, nhi.Filter{Tenants: tenants, After: after, Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, one := range list {
			ids = append(ids, one.ID)
		}
		return ids, next
	}
	if ids, next := page([]string{"blue"}, "", 10); fmt.Sprint(ids) != "["+agentRag+"]" || next != "" {
		t.Errorf("blue sees %v, then %q", ids, next)
	}
	ids, next := page([]string{"*"}, "", 2)
	more, end := page([]string{"*"}, next, 2)
	if len(ids) != 2 || len(more) != 1 || end != "" {
		t.Errorf("all are %v and %v", ids, more)
	}
	if got, found, err := store.FindRecord(ctx, []string{"blue"}, strings.ToUpper(agentRag[:6])+agentRag[6:]); err != nil ||
		!found || got.Owner != "team" || got.Generation != 2 {
		t.Errorf("found %+v, %v, %v", got, found, err)
	}
	if _, found, err := store.FindRecord(ctx, []string{"green"}, agentRag); found || err != nil {
		t.Errorf("green finds blue's: %v", err)
	}
	if list, err := store.RecordsAs(ctx, []string{agentRag, "spiffe://example.org/none"}); err != nil || len(list) != 1 {
		t.Errorf("as they are: %v, %v", list, err)
	}
	if list, err := store.RecordsAs(ctx, nil); err != nil || list != nil {
		t.Errorf("of no id: %v, %v", list, err)
	}
	if err := store.WriteRecords(ctx, nhi.Write{
		Records: []nhi.RecordWrite{{ID: green.ID, Expect: 1}}, Audit: record(store),
	}); err != nil {
		t.Fatal(err)
	}
	_ = store.Close()
	book = nhi.NewBook()
	store = open()
	defer func() { _ = store.Close() }()
	if _, found := book.Record(green.ID); found || book.Len() != 2 {
		t.Errorf("after a start there are %d records", book.Len())
	}
}

func TestWritesOfRecordsThatAreRefused(t *testing.T) {
	store := fresh(t, registry.SystemClock(), roomy)
	ctx := t.Context()
	if err := store.WriteRecords(ctx, putting(store, 0, listed(agentRag))); err != nil {
		t.Fatal(err)
	}
	var many []*nhi.Record
	for n := range 20_001 {
		many = append(many, listed(fmt.Sprintf("spiffe://example.org/agent/%d", n)))
	}
	without := putting(store, 0, listed("spiffe://example.org/agent/new"))
	without.Audit = nil
	other := putting(store, 0, listed("spiffe://example.org/agent/new"))
	other.Records[0].ID = "spiffe://example.org/agent/old"
	faulty := listed("spiffe://example.org/agent/new")
	faulty.Zone = "dmz"
	unreadable := putting(store, 0, listed("spiffe://example.org/agent/new"))
	unreadable.Audit = []audit.Record{{}}
	for name, write := range map[string]nhi.Write{
		"too many": putting(store, 0, many...), "no trace": without, "another's id": other,
		"a fault":   putting(store, 0, faulty),
		"one twice": putting(store, 0, listed("spiffe://example.org/agent/new"), listed("spiffe://example.org/agent/NEW")),
		"no entry":  unreadable,
	} {
		var caller *attestd.CallerError
		if err := store.WriteRecords(ctx, write); !errors.As(err, &caller) || caller.Class != attestd.ClassMalformed {
			t.Errorf("%s: got %v, want MALFORMED", name, err)
		}
	}
	var moved *subject.MovedError
	for name, write := range map[string]nhi.Write{
		"there already": putting(store, 0, listed(agentRag)),
		"changed since": putting(store, 7, listed(agentRag)),
		"gone already":  {Records: []nhi.RecordWrite{{ID: "spiffe://example.org/agent/none"}}, Audit: record(store)},
	} {
		if err := store.WriteRecords(ctx, write); !errors.As(err, &moved) {
			t.Errorf("%s: got %v, want that it moved", name, err)
		}
	}
	var caller *attestd.CallerError
	err := store.WriteRecords(ctx, putting(store, 1, listed("spiffe://example.org/agent/RAG")))
	if !errors.As(err, &caller) || caller.Class != attestd.ClassConflict {
		t.Errorf("another spelling: got %v, want CONFLICT", err)
	}
	if list, _, err := store.Records(ctx, nhi.Filter{Tenants: []string{"*"}, Limit: 10}); err != nil || len(list) != 1 {
		t.Errorf("afterwards there are %v, %v", list, err)
	}
}

func TestQuestionsAboutRecordsThatAreRefused(t *testing.T) {
	store := fresh(t, registry.SystemClock(), roomy)
	ctx := t.Context()
	long := "spiffe://example.org/" + strings.Repeat("a", 1<<20)
	for name, ask := range map[string]func() error{
		"nobody's find": func() error { _, _, err := store.FindRecord(ctx, nil, agentRag); return err },
		"a long find":   func() error { _, _, err := store.FindRecord(ctx, []string{"blue"}, long); return err },
		"nobody's page": func() error { _, _, err := store.Records(ctx, nhi.Filter{Limit: 1}); return err },
		"an empty page": func() error { _, _, err := store.Records(ctx, nhi.Filter{Tenants: []string{"*"}}); return err },
		"too many ids":  func() error { _, err := store.RecordsAs(ctx, make([]string, 100_000)); return err },
		"a long id":     func() error { _, err := store.RecordsAs(ctx, []string{long}); return err },
	} {
		var caller *attestd.CallerError
		if err := ask(); !errors.As(err, &caller) || caller.Class != attestd.ClassMalformed {
			t.Errorf("%s: got %v, want MALFORMED", name, err)
		}
	}
}

// neg: 179
func TestRecordsWhoseDatabaseFailsAnywhere(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	b.need(b.store.WriteRecords(ctx, putting(b.store, 0, listed(agentRag))))
	b.fails(false, func() func() error {
		gone := listed(fmt.Sprint("spiffe://example.org/agent/gone", b.run))
		b.need(b.store.WriteRecords(ctx, putting(b.store, 0, gone)))
		write := putting(b.store, 0, listed(fmt.Sprint("spiffe://example.org/agent/", b.run)))
		write.Records = append(write.Records, nhi.RecordWrite{ID: gone.ID, Expect: 1})
		return func() error { return unknown(b.store.WriteRecords(ctx, write)) }
	})
	for name, read := range map[string]func() (bool, error){
		"page": func() (bool, error) {
			list, _, err := b.store.Records(ctx, nhi.Filter{Tenants: []string{"*"}, Limit: 10})
			return len(list) > 0, err
		},
		"find": func() (bool, error) {
			_, found, err := b.store.FindRecord(ctx, []string{"blue"}, agentRag)
			return found, err
		},
		"as they are": func() (bool, error) {
			list, err := b.store.RecordsAs(ctx, []string{agentRag})
			return len(list) > 0, err
		},
		"all": func() (bool, error) {
			n := 0
			for _, err := range b.store.AllRecords(ctx) {
				if err != nil {
					return false, err
				}
				n++
			}
			return n > 0, nil
		},
	} {
		b.fails(false, func() func() error {
			return func() error {
				there, err := read()
				if (err == nil) != there {
					return fmt.Errorf("%s: got %t with %v", name, there, err)
				}
				return err
			}
		})
	}
}

// What the disk made of a record is no record, and a store that cannot read its inventory does not open.
func TestARecordThatTheDiskChangedIsNoAnswer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store, _ := withIndex(t, path)
	ctx := t.Context()
	if err := store.WriteRecords(ctx, putting(store, 0, listed(agentRag))); err != nil {
		t.Fatal(err)
	}
	changes(t, path, "UPDATE records SET document = x'78'")
	if _, _, err := store.FindRecord(ctx, []string{"blue"}, agentRag); err == nil ||
		!strings.Contains(err.Error(), "record of the inventory") {
		t.Errorf("got %v", err)
	}
	_ = store.Close()
	if again, err := registry.Open(ctx, registry.Config{
		Path: path, Clock: registry.SystemClock(), Limits: roomy, Inventory: nhi.NewBook(),
	}); err == nil {
		_ = again.Close()
		t.Error("a store opened without its inventory")
	}
}
