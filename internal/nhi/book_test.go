package nhi_test

import (
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd/internal/nhi"
)

func listOf(records ...nhi.Record) iter.Seq2[nhi.Record, error] {
	return func(yield func(nhi.Record, error) bool) {
		for _, one := range records {
			if !yield(one, nil) {
				return
			}
		}
	}
}

func TestABookKnowsWhatWasPublished(t *testing.T) {
	book := nhi.NewBook()
	rag := ragRecord("spire")
	rag.Generation, rag.Updated = 7, time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)
	book.Publish([]nhi.RecordWrite{{ID: rag.ID, Next: &rag}})
	if _, there := book.Record(rag.ID); there {
		t.Error("a book that was not loaded knows somebody")
	}
	if err := book.Load(listOf(rag)); err != nil {
		t.Fatal(err)
	}
	got, there := book.Record(rag.ID)
	if diff := cmp.Diff(&rag, got); !there || diff != "" {
		t.Error(diff)
	}
	for _, id := range []string{"", "spiffe://example.org/agent/RAG", "spiffe://example.org/agent/ra"} {
		if _, there := book.Record(id); there {
			t.Errorf("%q is known", id)
		}
	}
	next := rag
	next.Tools, next.Generation, next.Purpose = []string{"x"}, 8, ""
	other := nhi.Record{ID: "github:a", Generation: 1}
	book.Publish([]nhi.RecordWrite{{ID: rag.ID, Next: &next}, {ID: other.ID, Next: &other}})
	if got, _ := book.Record(rag.ID); cmp.Diff(&next, got) != "" || book.Len() != 2 {
		t.Errorf("got %+v of %d", got, book.Len())
	}
	// What was handed in is the giver's again.
	next.Tools[0] = "changed"
	if got, _ := book.Record(rag.ID); got.Tools[0] != "x" {
		t.Error("the book has what was handed in, and no copy")
	}
	book.Publish([]nhi.RecordWrite{{ID: rag.ID}, {ID: "github:none"}})
	if _, there := book.Record(rag.ID); there || book.Len() != 1 {
		t.Error("what was removed is there")
	}
}

func TestABookThatBreaksOffKnowsNobody(t *testing.T) {
	book := nhi.NewBook()
	broken := errors.New("the disk is gone")
	err := book.Load(func(yield func(nhi.Record, error) bool) {
		_ = yield(nhi.Record{ID: "github:a"}, nil) && yield(nhi.Record{}, broken)
	})
	if _, there := book.Record("github:a"); there || !errors.Is(err, broken) {
		t.Errorf("known %t, %v", there, err)
	}
}

// TestRecordsThatDifferAreKeptApart: what records share is found by a key, and no two have the
// same.
func TestRecordsThatDifferAreKeptApart(t *testing.T) {
	alike := []nhi.Record{
		{Tenant: "ab"}, {Tenant: "a", Project: "b"}, {Project: "ab"}, {Owner: "ab"}, {Purpose: "ab"}, {Stage: "ab"},
		{Ring: "ab"}, {Zone: "ab"}, {Policy: "ab"}, {Credential: "ab"}, {Lifecycle: "ab"}, {Source: "ab"},
		{Tools: []string{"ab"}}, {Tools: []string{"a", "b"}}, {Datasets: []string{"ab"}},
		{Tools: []string{"a"}, Datasets: []string{"b"}}, {Source: "a", Tools: []string{"b"}}, {},
	}
	for i := range alike {
		alike[i].ID, alike[i].Generation = fmt.Sprintf("github:%d", i), 1
	}
	book := nhi.NewBook()
	if err := book.Load(listOf(alike...)); err != nil {
		t.Fatal(err)
	}
	for _, want := range alike {
		if got, _ := book.Record(want.ID); cmp.Diff(&want, got) != "" {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestABookIsReadWhileItIsWritten(t *testing.T) {
	book := nhi.NewBook()
	if err := book.Load(listOf()); err != nil {
		t.Fatal(err)
	}
	// A record is one or the other, and never a part of each.
	a, b := ragRecord("a"), ragRecord("b")
	a.Tools, b.Tools = []string{"a"}, []string{"b"}
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got, there := book.Record(a.ID); there && got.Tools[0] != got.Source {
					t.Errorf("got %+v", got)
					return
				}
			}
		})
	}
	for i := range 3000 {
		next := []*nhi.Record{&a, &b, nil}[i%3]
		book.Publish([]nhi.RecordWrite{{ID: a.ID, Next: next}})
	}
	close(stop)
	all.Wait()
}

// crowd are records as a fleet has them: many, of a few shapes.
func crowd(n int) iter.Seq2[nhi.Record, error] {
	return func(yield func(nhi.Record, error) bool) {
		for i := range n {
			one := ragRecord("spire:entries.json")
			one.ID = fmt.Sprintf("spiffe://example.org/tenant/t%03d/agent/worker-%07d", i%1000, i)
			one.Tenant, one.Generation = fmt.Sprintf("t%03d", i%1000), 1
			one.Updated = time.Unix(int64(i), 0)
			if !yield(one, nil) {
				return
			}
		}
	}
}

// TestARecordOfManyIsSmall: what they share is there once. Measured: 166 bytes a
// record and 230 ns a look at a million.
func TestARecordOfManyIsSmall(t *testing.T) {
	const n, most = 100_000, 260
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	book := nhi.NewBook()
	if err := book.Load(crowd(n)); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (after.HeapAlloc - before.HeapAlloc) / n
	t.Logf("%d bytes a record", each)
	if each > most {
		t.Errorf("a record takes %d bytes, want at most %d", each, most)
	}
	if book.Len() != n {
		t.Error(book.Len())
	}
	allocs := testing.AllocsPerRun(100, func() { book.Record("spiffe://example.org/tenant/t001/agent/worker-0000001") })
	if allocs > 1 {
		t.Errorf("a look allocates %.0f times, want once", allocs)
	}
	runtime.KeepAlive(book)
}

// TestABookForgetsTexts: owners that come and go leave nothing behind.
func TestABookForgetsTexts(t *testing.T) {
	book := nhi.NewBook()
	if err := book.Load(listOf()); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	for round := range 60_000 {
		if round == 10_000 {
			runtime.GC()
			runtime.ReadMemStats(&before)
		}
		one := nhi.Record{ID: "github:a", Owner: fmt.Sprintf("somebody-who-comes-and-goes-%d", round)}
		book.Publish([]nhi.RecordWrite{{ID: one.ID, Next: &one}})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("50,000 changes leave %d bytes", grown)
	}
	runtime.KeepAlive(book)
}

func BenchmarkRecord(b *testing.B) {
	book := nhi.NewBook()
	if err := book.Load(crowd(1_000_000)); err != nil {
		b.Fatal(err)
	}
	ids := make([]string, 4096)
	for i := range ids {
		n := i * 241 % 1_000_000
		ids[i] = fmt.Sprintf("spiffe://example.org/tenant/t%03d/agent/worker-%07d", n%1000, n)
	}
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, there := book.Record(ids[i%len(ids)]); !there {
			b.Fatal(ids[i%len(ids)])
		}
		i++
	}
	b.ReportMetric(float64(stats.HeapAlloc)/1e6, "B/record")
}

func TestReachesIsExactButForALastStar(t *testing.T) {
	list := []string{"files.*", "search"}
	for id, want := range map[string]bool{
		"search": true, "files.read": true, "files.": true, "files": false, "Search": false, "search2": false, "": false, "*": false,
	} {
		if nhi.Reaches(list, id) != want {
			t.Errorf("%q: want %t", id, want)
		}
	}
	if !nhi.Reaches([]string{"*"}, "x") || nhi.Reaches([]string{"*"}, "") || nhi.Reaches(nil, "x") {
		t.Error("everything, and nothing")
	}
	if !slices.Equal(nhi.Zones(), []nhi.Zone{"trusted", "semi-trusted", "untrusted"}) {
		t.Error("zones")
	}
}
