package audit

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// The tiling of C2SP tlog-tiles: tiles of height 8, 256 hashes each.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	tileBytes  = tileWidth * tlog.HashSize
)

// Hash is the hash of a leaf, of a node or of a whole tree (RFC 6962, section 2.1).
type Hash = tlog.Hash

// Entry is what one append asks of whoever stores the log: a leaf, and with every 256th a tile that
// is full. Nothing stored is ever written a second time.
type Entry struct {
	Index int64
	Leaf  []byte
	Tiles []Tile
}

// Tile is a full tile: 256 hashes of one level. Number counts the tiles of a level. Level and number
// are its key.
type Tile struct {
	Level  int
	Number int64
	Hashes []byte
}

// Reader reads back what was stored of a log. A leaf or tile that is not there is an error that is
// [ErrAbsent].
type Reader interface {
	// AuditLeaves returns the leaves from start on without a gap, at least one and at most limit.
	AuditLeaves(ctx context.Context, start int64, limit int) ([][]byte, error)
	// AuditTile returns the hashes of a full tile.
	AuditTile(ctx context.Context, level int, number int64) ([]byte, error)
}

// Tree is the growing edge of a log, all that is needed to append to it. The zero Tree is an empty
// log. It is not safe for use by several goroutines at a time.
//
// It belongs into the transaction that stores its entries: append to a [Tree.Clone] while the
// transaction runs, and put that in place of the tree when it was committed.
type Tree struct {
	size int64
	// edge holds the hashes of the unfinished tile of each level, fewer than 256 each.
	edge [][]Hash
}

// Size returns the number of leaves.
func (t *Tree) Size() int64 { return t.size }

// Clone returns a tree that grows apart from t.
func (t *Tree) Clone() *Tree {
	clone := &Tree{size: t.size, edge: make([][]Hash, len(t.edge))}
	for level, hashes := range t.edge {
		// Without room behind them: an append to the one cannot be seen by the other.
		clone.edge[level] = slices.Clip(hashes)
	}
	return clone
}

// Append takes a record up.
func (t *Tree) Append(record Record) (Entry, error) {
	leaf, err := Encode(record)
	if err != nil {
		return Entry{}, err
	}
	entry := Entry{Index: t.size, Leaf: leaf}
	entry.Tiles = t.grow(tlog.RecordHash(leaf))
	return entry, nil
}

// grow adds the hash of a leaf and returns the tiles that it fills.
func (t *Tree) grow(hash Hash) []Tile {
	t.size++
	var full []Tile
	for level := 0; ; level++ {
		if level == len(t.edge) {
			t.edge = append(t.edge, nil)
		}
		t.edge[level] = append(t.edge[level], hash)
		if len(t.edge[level]) < tileWidth {
			return full
		}
		full = append(full, Tile{
			Level: level, Number: t.size>>(tileHeight*(level+1)) - 1, Hashes: flat(t.edge[level]),
		})
		hash = root(t.edge[level])
		t.edge[level] = nil
	}
}

// Hash returns the hash of the whole tree.
func (t *Tree) Hash() Hash {
	var whole Hash
	first := true
	for _, hashes := range t.edge {
		// From the smallest full subtree, on the right, to the largest.
		for end := len(hashes); end > 0; {
			width := end & -end
			subtree := root(hashes[end-width : end])
			if first {
				whole, first = subtree, false
			} else {
				whole = tlog.NodeHash(subtree, whole)
			}
			end -= width
		}
	}
	if first {
		whole, _ = tlog.TreeHash(0, nil) // of nothing: it reads no hash and cannot fail
	}
	return whole
}

// Resume returns the tree of the first size leaves of what was stored. It reads the unfinished tiles
// anew from what is under them: at most 255 leaves, and 255 tiles for each further level.
func Resume(ctx context.Context, from Reader, size int64) (*Tree, error) {
	if size < 0 {
		return nil, fmt.Errorf("audit log of %d leaves", size)
	}
	tree := &Tree{size: size}
	for level := 0; size>>(tileHeight*level) > 0; level++ {
		count := size >> (tileHeight * level)
		start := count &^ (tileWidth - 1)
		hashes, err := edgeOf(ctx, from, level, start, int(count-start))
		if err != nil {
			return nil, err
		}
		tree.edge = append(tree.edge, hashes)
	}
	return tree, nil
}

// edgeOf returns so many hashes of a level, from start on.
func edgeOf(ctx context.Context, from Reader, level int, start int64, count int) ([]Hash, error) {
	hashes := make([]Hash, 0, count)
	for len(hashes) < count {
		at := start + int64(len(hashes))
		if level > 0 {
			data, err := fullTile(ctx, from, level-1, at)
			if err != nil {
				return nil, err
			}
			hashes = append(hashes, root(data))
			continue
		}
		leaves, err := from.AuditLeaves(ctx, at, count-len(hashes))
		if err != nil {
			return nil, err
		}
		if len(leaves) == 0 || len(leaves) > count-len(hashes) {
			return nil, fmt.Errorf("audit log: asked for %d leaves from index %d, got %d",
				count-len(hashes), at, len(leaves))
		}
		for _, leaf := range leaves {
			hashes = append(hashes, tlog.RecordHash(leaf))
		}
	}
	return hashes, nil
}

// fullTile reads a full tile.
func fullTile(ctx context.Context, from Reader, level int, number int64) ([]Hash, error) {
	data, err := from.AuditTile(ctx, level, number)
	if err != nil {
		return nil, err
	}
	if len(data) != tileBytes {
		return nil, fmt.Errorf("audit log: tile %d of level %d has %d bytes, want %d",
			number, level, len(data), tileBytes)
	}
	return hashesOf(data), nil
}

func hashesOf(data []byte) []Hash {
	hashes := make([]Hash, len(data)/tlog.HashSize)
	for index := range hashes {
		copy(hashes[index][:], data[index*tlog.HashSize:])
	}
	return hashes
}

func flat(hashes []Hash) []byte {
	data := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, hash := range hashes {
		data = append(data, hash[:]...)
	}
	return data
}

// root returns the hash of a full subtree: the number of hashes is a power of two.
func root(hashes []Hash) Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	half := len(hashes) / 2
	return tlog.NodeHash(root(hashes[:half]), root(hashes[half:]))
}
