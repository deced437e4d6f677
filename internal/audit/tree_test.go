package audit_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestd/attestd/internal/audit"
)

// memory stores a log the way a table does, and whatever a test puts into it.
type memory struct {
	leaves [][]byte
	tiles  map[string][]byte
}

func key(level int, number int64) string { return fmt.Sprintf("%d/%d", level, number) }

func (m *memory) keep(t testing.TB, entry audit.Entry) {
	t.Helper()
	if entry.Index != int64(len(m.leaves)) {
		t.Fatalf("leaf %d came as number %d", entry.Index, len(m.leaves))
	}
	m.leaves = append(m.leaves, entry.Leaf)
	if m.tiles == nil {
		m.tiles = map[string][]byte{}
	}
	for _, tile := range entry.Tiles {
		if m.tiles[key(tile.Level, tile.Number)] != nil {
			t.Fatalf("tile %d of level %d was written twice", tile.Number, tile.Level)
		}
		m.tiles[key(tile.Level, tile.Number)] = tile.Hashes
	}
}

func (m *memory) AuditLeaves(_ context.Context, start int64, limit int) ([][]byte, error) {
	if start >= int64(len(m.leaves)) {
		return nil, fmt.Errorf("leaf %d: %w", start, audit.ErrAbsent)
	}
	return m.leaves[start:min(start+int64(limit), int64(len(m.leaves)))], nil
}

func (m *memory) AuditTile(_ context.Context, level int, number int64) ([]byte, error) {
	if data := m.tiles[key(level, number)]; data != nil {
		return data, nil
	}
	return nil, fmt.Errorf("tile %d of level %d: %w", number, level, audit.ErrAbsent)
}

var morning = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

func record(number int) audit.Record {
	return audit.Record{
		At: morning.Add(time.Duration(number) * time.Second), Actor: "ines", Tenant: "default",
		Action: "quarantine", Target: fmt.Sprintf("spiffe://example.org/agent/%d", number), Outcome: "done",
	}
}

// written returns a log of so many records.
func written(t testing.TB, size int) (*audit.Tree, *memory) {
	t.Helper()
	var tree audit.Tree
	var kept memory
	for number := range size {
		entry, err := tree.Append(record(number))
		if err != nil {
			t.Fatal(err)
		}
		kept.keep(t, entry)
	}
	return &tree, &kept
}

// TestTreeHashIsThatOfTheReferenceLog compares with the tree that package tlog makes of the same
// leaves, at sizes around every border of a tile.
func TestTreeHashIsThatOfTheReferenceLog(t *testing.T) {
	var tree audit.Tree
	var kept memory
	var hashes []tlog.Hash
	stored := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for number, index := range indexes {
			found[number] = hashes[index]
		}
		return found, nil
	})
	const most = 256*256 + 3
	for size := range int64(most) {
		border := (size+2)%256 < 5 && (size < 2000 || size/256%64 == 0)
		near := border || size < 20 || size > most-10
		if near {
			want, err := tlog.TreeHash(size, stored)
			if err != nil {
				t.Fatal(err)
			}
			if got := tree.Hash(); got != want {
				t.Fatalf("size %d: got %v, want %v", size, got, want)
			}
			resumed, err := audit.Resume(t.Context(), &kept, size)
			if err != nil {
				t.Fatal(err)
			}
			if got := resumed.Hash(); got != want || resumed.Size() != size {
				t.Fatalf("resumed at %d: got size %d, %v, want %v", size, resumed.Size(), got, want)
			}
		}
		entry, err := tree.Append(record(int(size)))
		if err != nil {
			t.Fatal(err)
		}
		kept.keep(t, entry)
		more, err := tlog.StoredHashes(size, entry.Leaf, stored)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, more...)
	}
}

func TestCloneGrowsApart(t *testing.T) {
	tree, _ := written(t, 700)
	before := tree.Hash()
	left, right := tree.Clone(), tree.Clone()
	for number := range 300 {
		if _, err := left.Append(record(number)); err != nil {
			t.Fatal(err)
		}
		if _, err := right.Append(record(number + 1)); err != nil {
			t.Fatal(err)
		}
	}
	again, _ := written(t, 700)
	for number := range 300 {
		if _, err := again.Append(record(number)); err != nil {
			t.Fatal(err)
		}
	}
	switch {
	case tree.Hash() != before || tree.Size() != 700:
		t.Error("a tree changed while its clones grew")
	case left.Hash() == right.Hash():
		t.Error("two clones with other leaves have one hash")
	case left.Hash() != again.Hash():
		t.Error("a clone that grew is not the tree that grew alike")
	}
}

func TestResumeNeedsWhatWasStored(t *testing.T) {
	_, kept := written(t, 600)
	if _, err := audit.Resume(t.Context(), kept, 601); err == nil {
		t.Error("a log was resumed behind its last leaf")
	}
	kept.tiles[key(0, 1)] = kept.tiles[key(0, 1)][:64]
	if _, err := audit.Resume(t.Context(), kept, 600); err == nil {
		t.Error("a log was resumed over a short tile")
	}
	delete(kept.tiles, key(0, 0))
	if _, err := audit.Resume(t.Context(), kept, 600); err == nil {
		t.Error("a log was resumed over a tile that is gone")
	}
}

func BenchmarkAppend(b *testing.B) {
	var tree audit.Tree
	for number := range b.N {
		next := tree.Clone()
		if _, err := next.Append(record(number)); err != nil {
			b.Fatal(err)
		}
		tree = *next
	}
}
