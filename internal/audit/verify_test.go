package audit_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd/internal/audit"
)

const origin = "example.org/attestd/audit"

// ephemeral returns a key that lives as long as the test.
func ephemeral(t testing.TB) *audit.Key {
	t.Helper()
	key, err := audit.NewEphemeralKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func checkpointOf(tree *audit.Tree) audit.Checkpoint {
	return audit.Checkpoint{Origin: origin, Size: tree.Size(), Hash: tree.Hash()}
}

func signedBy(t testing.TB, key *audit.Key, tree *audit.Tree) string {
	t.Helper()
	signed, err := checkpointOf(tree).Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// tampered demands a finding and returns it.
func tampered(t testing.TB, err error) *audit.TamperError {
	t.Helper()
	var found *audit.TamperError
	if !errors.As(err, &found) {
		t.Fatalf("got %v, want a finding with an index", err)
	}
	return found
}

func other(t testing.TB, number int) []byte {
	t.Helper()
	changed := record(number)
	changed.Actor = "mallory"
	leaf, err := audit.Encode(changed)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// TestVerifyNamesTheFirstBadIndex changes a log of 700 leaves in a store. neg: 186
func TestVerifyNamesTheFirstBadIndex(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*memory)
		want   int64
	}{
		{"a leaf that was edited", func(m *memory) { m.leaves[17] = other(t, 17) }, 17},
		{"the first leaf that was edited", func(m *memory) { m.leaves[0] = other(t, 0) }, 0},
		{"a leaf of a later tile that was edited", func(m *memory) { m.leaves[300] = other(t, 300) }, 300},
		{"two leaves that were edited", func(m *memory) {
			m.leaves[410], m.leaves[290] = other(t, 410), other(t, 290)
		}, 290},
		{"a leaf that was deleted", func(m *memory) { m.leaves = slices.Delete(m.leaves, 42, 43) }, 42},
		{"two leaves that changed places", func(m *memory) {
			m.leaves[100], m.leaves[200] = m.leaves[200], m.leaves[100]
		}, 100},
		{"a leaf that stands twice", func(m *memory) {
			m.leaves = slices.Insert(m.leaves, 256, m.leaves[255])
		}, 256},
		{"the last leaf that is gone", func(m *memory) { m.leaves = m.leaves[:699] }, 699},
		{"a tail that is gone", func(m *memory) { m.leaves = m.leaves[:512] }, 512},
		{"all leaves that are gone", func(m *memory) { m.leaves = nil }, 0},
		{"a tile that was changed over whole leaves", func(m *memory) {
			tile := bytes.Clone(m.tiles[key(0, 1)])
			tile[3*32]++
			m.tiles[key(0, 1)] = tile
		}, 259},
	} {
		t.Run(row.name, func(t *testing.T) {
			tree, kept := written(t, 700)
			if err := audit.Verify(t.Context(), audit.StoredSource(kept), checkpointOf(tree)); err != nil {
				t.Fatalf("before the change: %v", err)
			}
			row.change(kept)
			found := tampered(t, audit.Verify(t.Context(), audit.StoredSource(kept), checkpointOf(tree)))
			if found.First != row.want || found.Last != row.want {
				t.Errorf("got %v, want the index %d", found, row.want)
			}
			if !strings.Contains(found.Error(), "first bad index") {
				t.Errorf("the words are %q", found)
			}
		})
	}
}

// TestRewrittenLogIsFoundBetweenCheckpoints: whoever can write the store can write tiles to match. An
// earlier checkpoint then narrows down where it begins. neg: 186
func TestRewrittenLogIsFoundBetweenCheckpoints(t *testing.T) {
	var checkpoints []audit.Checkpoint
	for _, size := range []int{200, 400, 700} {
		tree, _ := written(t, size)
		checkpoints = append(checkpoints, checkpointOf(tree))
	}
	var forged memory
	var tree audit.Tree
	for number := range 700 {
		changed := record(number)
		if number == 321 {
			changed.Reason = "never said"
		}
		entry, err := tree.Append(changed)
		if err != nil {
			t.Fatal(err)
		}
		forged.keep(t, entry)
	}
	found := tampered(t, audit.Verify(t.Context(), audit.StoredSource(&forged), checkpoints...))
	if found.First != 200 || found.Last != 399 {
		t.Errorf("got %v, want between 200 and 399", found)
	}
	if err := audit.Verify(t.Context(), audit.StoredSource(&forged), checkpoints[0]); err != nil {
		t.Errorf("the beginning is as it was signed: %v", err)
	}
	// Its own checkpoint calls the forged log whole: that is what a checkpoint kept elsewhere is for.
	if err := audit.Verify(t.Context(), audit.StoredSource(&forged), checkpointOf(&tree)); err != nil {
		t.Errorf("a rewritten log with a key that was taken is whole in itself: %v", err)
	}
	if err := audit.Verify(t.Context(), audit.StoredSource(&forged)); err == nil {
		t.Error("a log was verified against nothing")
	}
}

// bundle reads the leaves of an exported bundle, and writes them back changed.
func bundle(t *testing.T, path string, change func([][]byte) [][]byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var leaves [][]byte
	for rest := data; len(rest) > 0; {
		size := int(binary.BigEndian.Uint16(rest))
		leaves = append(leaves, rest[2:2+size])
		rest = rest[2+size:]
	}
	var packed []byte
	for _, leaf := range change(leaves) {
		packed = append(binary.BigEndian.AppendUint16(packed, uint16(len(leaf))), leaf...)
	}
	if err := os.WriteFile(path, packed, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestExportedLogIsVerifiedByItself changes the files of an export. neg: 186
func TestExportedLogIsVerifiedByItself(t *testing.T) {
	const last = "tile/entries/002.p/188"
	for _, row := range []struct {
		name        string
		change      func(t *testing.T, folder string)
		first, last int64
	}{
		{"a leaf that was edited", func(t *testing.T, folder string) {
			bundle(t, filepath.Join(folder, "tile/entries/001"), func(leaves [][]byte) [][]byte {
				leaves[4] = other(t, 260)
				return leaves
			})
		}, 260, 260},
		{"a leaf of the unfinished tile that was edited", func(t *testing.T, folder string) {
			bundle(t, filepath.Join(folder, last), func(leaves [][]byte) [][]byte {
				leaves[187] = other(t, 699)
				return leaves
			})
		}, 699, 699},
		{"a leaf that was deleted", func(t *testing.T, folder string) {
			bundle(t, filepath.Join(folder, "tile/entries/000"), func(leaves [][]byte) [][]byte {
				return slices.Delete(leaves, 9, 10)
			})
		}, 9, 9},
		{"a tail that is gone", func(t *testing.T, folder string) {
			bundle(t, filepath.Join(folder, last), func(leaves [][]byte) [][]byte { return leaves[:8] })
		}, 520, 520},
		{"a bundle that is gone", func(t *testing.T, folder string) {
			if err := os.Remove(filepath.Join(folder, "tile/entries/001")); err != nil {
				t.Fatal(err)
			}
		}, 256, 256},
		{"a leaf that was edited with its tile", func(t *testing.T, folder string) {
			rewritten := t.TempDir()
			forge(t, rewritten, 30)
			for _, name := range []string{"tile/entries/000", "tile/0/000"} {
				data, err := os.ReadFile(filepath.Join(rewritten, name))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}, 0, 255},
	} {
		t.Run(row.name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "log")
			tree, kept := written(t, 700)
			key := ephemeral(t)
			checkpoint, err := audit.Export(t.Context(), audit.StoredSource(kept), signedBy(t, key, tree),
				key.Public(), folder)
			if err != nil {
				t.Fatal(err)
			}
			if err := audit.Verify(t.Context(), audit.OpenFolder(folder), checkpoint); err != nil {
				t.Fatalf("before the change: %v", err)
			}
			row.change(t, folder)
			found := tampered(t, audit.Verify(t.Context(), audit.OpenFolder(folder), checkpoint))
			if found.First != row.first || found.Last != row.last {
				t.Errorf("got %v, want %d to %d", found, row.first, row.last)
			}
		})
	}
}

// forge exports a log in which one record is another.
func forge(t *testing.T, folder string, at int) {
	t.Helper()
	var kept memory
	var tree audit.Tree
	for number := range 700 {
		changed := record(number)
		if number == at {
			changed.Actor = "mallory"
		}
		entry, err := tree.Append(changed)
		if err != nil {
			t.Fatal(err)
		}
		kept.keep(t, entry)
	}
	key := ephemeral(t)
	if _, err := audit.Export(t.Context(), audit.StoredSource(&kept), signedBy(t, key, &tree), key.Public(),
		folder); err != nil {
		t.Fatal(err)
	}
}

// TestExportGrowsAndNeverGoesBack: an export that is there already is the anchor for the next.
// neg: 186
func TestExportGrowsAndNeverGoesBack(t *testing.T) {
	folder := t.TempDir()
	key := ephemeral(t)
	put := func(tree *audit.Tree, kept *memory) error {
		_, err := audit.Export(t.Context(), audit.StoredSource(kept), signedBy(t, key, tree), key.Public(), folder)
		return err
	}
	for _, size := range []int{0, 10, 300, 512, 700} {
		tree, kept := written(t, size)
		if err := put(tree, kept); err != nil {
			t.Fatalf("%d leaves: %v", size, err)
		}
		if err := audit.Verify(t.Context(), audit.OpenFolder(folder), checkpointOf(tree)); err != nil {
			t.Fatalf("%d leaves: %v", size, err)
		}
	}
	if found := tampered(t, put(written(t, 650))); found.First != 650 {
		t.Errorf("a log that lost its tail: %v", found)
	}
	older, _ := written(t, 650)
	_, longer := written(t, 700)
	if found := tampered(t, put(older, longer)); found.First != 650 {
		t.Errorf("an older checkpoint over a newer one: %v", found)
	}
	var tree audit.Tree
	var forged memory
	for number := range 800 {
		changed := record(number)
		if number == 333 {
			changed.Reason = "never said"
		}
		entry, err := tree.Append(changed)
		if err != nil {
			t.Fatal(err)
		}
		forged.keep(t, entry)
	}
	if found := tampered(t, put(&tree, &forged)); found.First != 333 || found.Last != 333 {
		t.Errorf("a log that was rewritten and signed anew: %v", found)
	}
	whole, _ := written(t, 700)
	if err := audit.Verify(t.Context(), audit.OpenFolder(folder), checkpointOf(whole)); err != nil {
		t.Errorf("a refused export changed the folder: %v", err)
	}
	stranger := ephemeral(t)
	more, kept := written(t, 900)
	if _, err := audit.Export(t.Context(), audit.StoredSource(kept), signedBy(t, stranger, more),
		stranger.Public(), folder); err == nil {
		t.Error("an export was written over another log's")
	}
}

// fickle is a source that answers otherwise the second time.
type fickle struct {
	audit.Source
	leaf []byte
	read map[int64]bool
}

func (f fickle) Leaves(ctx context.Context, start int64, limit int) ([][]byte, error) {
	leaves, err := f.Source.Leaves(ctx, start, limit)
	if err == nil && f.read[start] {
		leaves = slices.Clone(leaves)
		leaves[0] = f.leaf
	}
	f.read[start] = true
	return leaves, err
}

// TestExportOfWhatIsNotSignedLeavesNothing: neither what was changed before nor what changes meanwhile
// gets a checkpoint. neg: 186
func TestExportOfWhatIsNotSignedLeavesNothing(t *testing.T) {
	key := ephemeral(t)
	tree, kept := written(t, 300)
	folder := filepath.Join(t.TempDir(), "log")
	changing := fickle{audit.StoredSource(kept), other(t, 0), map[int64]bool{}}
	_, err := audit.Export(t.Context(), changing, signedBy(t, key, tree), key.Public(), folder)
	if err == nil {
		t.Error("what was exported is not what was verified")
	}
	if _, _, err := audit.ReadFolder(folder); err == nil {
		t.Error("an export that failed has a checkpoint")
	}
	folder = filepath.Join(t.TempDir(), "log")
	kept.leaves[299] = other(t, 299)
	_, err = audit.Export(t.Context(), audit.StoredSource(kept), signedBy(t, key, tree), key.Public(), folder)
	if err == nil {
		t.Error("a changed log was exported")
	}
	if _, err := os.Stat(folder); err == nil {
		t.Error("a changed log was written before it was verified")
	}
}
