package audit

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrAbsent is the answer for a leaf or a tile that is not there.
var ErrAbsent = fmt.Errorf("not in the audit log: %w", fs.ErrNotExist)

// Source is a log as it lies somewhere, and nothing in it is believed.
type Source interface {
	// Leaves returns leaves from start on, at least one and at most limit; [ErrAbsent] where there is
	// none.
	Leaves(ctx context.Context, start int64, limit int) ([][]byte, error)
	// Hashes returns the tile of that level and number, with that many hashes; nil where the source
	// keeps none. It narrows down what is wrong; that something is wrong does not rest on it.
	Hashes(ctx context.Context, level int, number int64, width int) ([]byte, error)
}

// TamperError says that a log is not what its checkpoints say: the first leaf that is not as it was
// written lies between First and Last.
type TamperError struct {
	First, Last int64
	What        string
}

// Error names the first bad index, or between which two it lies.
func (e *TamperError) Error() string {
	if e.First == e.Last {
		return fmt.Sprintf("first bad index %d: %s", e.First, e.What)
	}
	return fmt.Sprintf("first bad index between %d and %d: %s", e.First, e.Last, e.What)
}

// Verify reads a log up to the largest of the checkpoints and returns nil where the leaves are those
// that each checkpoint was signed over. Checkpoints are opened ([OpenCheckpoint]) before.
//
// What is not shown: anything about leaves behind the largest checkpoint. A log and its newest
// checkpoint that were both put back to an older state are whole in themselves; only a checkpoint that
// was kept elsewhere tells.
//
// Errors: a [*TamperError]; or any other error where the log could not be read.
func Verify(ctx context.Context, source Source, checkpoints ...Checkpoint) error {
	if len(checkpoints) == 0 {
		return errors.New("a log is verified against a checkpoint, got none")
	}
	checkpoints = slices.Clone(checkpoints)
	slices.SortFunc(checkpoints, func(a, b Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
	v := verification{
		source: source, rest: checkpoints, size: checkpoints[len(checkpoints)-1].Size,
		above: map[int]upper{},
	}
	if err := v.compare(); err != nil {
		return err
	}
	for v.tree.size < v.size {
		if err := v.read(ctx); err != nil {
			return err
		}
	}
	return nil
}

// verification grows the tree anew from the leaves.
type verification struct {
	source Source
	tree   Tree
	size   int64
	// above are the tiles over the leaves that are read at the moment, one for each level.
	above map[int]upper
	// rest are the checkpoints that were not reached yet; good is the size of the last that was right.
	rest []Checkpoint
	good int64

	// suspect is the first leaf that is not what a stored tile says. Either can have been changed: the
	// next checkpoint decides.
	suspect *TamperError
}

// upper is a tile above the leaves.
type upper struct {
	number int64
	hashes []byte
}

// read takes up the leaves of one tile.
func (v *verification) read(ctx context.Context) error {
	start := v.tree.size
	width := int(min(v.size-start&^(tileWidth-1), tileWidth))
	stored, err := v.stored(ctx, 0, start>>tileHeight, width)
	if err != nil {
		return err
	}
	for want := start&^(tileWidth-1) + int64(width); v.tree.size < want; {
		leaves, err := v.source.Leaves(ctx, v.tree.size, int(want-v.tree.size))
		switch {
		case errors.Is(err, ErrAbsent), err == nil && len(leaves) == 0:
			return v.earlier(&TamperError{
				First: v.tree.size, Last: v.tree.size,
				What: fmt.Sprintf("it is missing; the checkpoint has %d leaves", v.size),
			})
		case err != nil:
			return err
		}
		for _, leaf := range leaves[:min(int64(len(leaves)), want-v.tree.size)] {
			if err := v.take(ctx, leaf, stored); err != nil {
				return err
			}
		}
	}
	return nil
}

// take takes up one leaf.
func (v *verification) take(ctx context.Context, leaf, stored []byte) error {
	index := v.tree.size
	hash := tlog.RecordHash(leaf)
	if at := int(index%tileWidth) * tlog.HashSize; at+tlog.HashSize <= len(stored) {
		if !bytes.Equal(hash[:], stored[at:at+tlog.HashSize]) {
			v.suspects(index, index, "the leaf is not the one that was hashed when it was written")
		}
	}
	for _, tile := range v.tree.grow(hash) {
		if err := v.ascend(ctx, tile); err != nil {
			return err
		}
	}
	return v.compare()
}

// ascend compares the root of a full tile with the hash that the tile above it has of it.
func (v *verification) ascend(ctx context.Context, tile Tile) error {
	level := tile.Level + 1
	above, at := tile.Number>>tileHeight, int(tile.Number%tileWidth)*tlog.HashSize
	if v.above[level].hashes == nil || v.above[level].number != above {
		width := min(v.size>>(tileHeight*level)-above<<tileHeight, tileWidth)
		hashes, err := v.stored(ctx, level, above, int(width))
		if err != nil || hashes == nil {
			return err
		}
		v.above[level] = upper{number: above, hashes: hashes}
	}
	hash := root(hashesOf(tile.Hashes))
	if !bytes.Equal(hash[:], v.above[level].hashes[at:at+tlog.HashSize]) {
		under := int64(1) << (tileHeight * level)
		v.suspects(tile.Number*under, (tile.Number+1)*under-1, "leaves and their tile were changed together")
	}
	return nil
}

func (v *verification) stored(ctx context.Context, level int, number int64, width int) ([]byte, error) {
	data, err := v.source.Hashes(ctx, level, number, width)
	if err != nil || data == nil {
		return nil, err
	}
	if len(data) != width*tlog.HashSize {
		first := number << (tileHeight * (level + 1))
		v.suspects(first, first+int64(width)<<(tileHeight*level)-1,
			fmt.Sprintf("the tile has %d bytes, want %d", len(data), width*tlog.HashSize))
		return nil, nil
	}
	return data, nil
}

// suspects keeps the finding that begins first. Leaves are compared before what is above them, so one
// that holds an earlier finding says less than that.
func (v *verification) suspects(first, last int64, what string) {
	if v.suspect == nil || last < v.suspect.First {
		v.suspect = &TamperError{First: first, Last: last, What: what}
	}
}

// earlier returns the finding that begins first.
func (v *verification) earlier(found *TamperError) error {
	if v.suspect != nil && v.suspect.First < found.First {
		return v.suspect
	}
	return found
}

// compare holds the tree against the checkpoints of its size.
func (v *verification) compare() error {
	for len(v.rest) > 0 && v.rest[0].Size == v.tree.size {
		checkpoint := v.rest[0]
		v.rest = v.rest[1:]
		if v.tree.Hash() == checkpoint.Hash {
			if v.suspect != nil {
				// The leaves are those that were signed: it is the tile that was changed.
				v.suspect.What = "the leaf is as it was signed, but its stored tile is not"
				return v.suspect
			}
			v.good = checkpoint.Size
			continue
		}
		if v.suspect != nil {
			return v.suspect
		}
		return &TamperError{
			First: v.good, Last: max(checkpoint.Size-1, v.good),
			What: fmt.Sprintf("%d leaves do not have the hash that was signed for them", checkpoint.Size),
		}
	}
	return nil
}
