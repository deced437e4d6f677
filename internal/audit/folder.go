package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestd/attestd"
)

// Names in an exported log (C2SP tlog-tiles, and the key beside it).
const (
	checkpointName = "checkpoint"
	keyName        = "key"
	entriesFolder  = "entries"
)

// maxBundle is the largest entry bundle: 256 leaves, each behind its length.
const maxBundle = tileWidth * (2 + maxLeaf)

// Export writes the log up to a checkpoint into a folder, as C2SP tlog-tiles lays it out. The folder
// can be an earlier export: what is full in it is compared and not written again, and the checkpoint
// is put in place last, so that a broken export is the earlier one.
//
// Errors: a [*TamperError] where the leaves are not those of the checkpoint, or not those that were
// exported before. Nothing of the folder is changed then that its own checkpoint covers.
func Export(ctx context.Context, source Source, signed, public, folder string) (Checkpoint, error) {
	checkpoint, err := OpenCheckpoint(signed, public)
	if err != nil {
		return Checkpoint{}, err
	}
	if err := Verify(ctx, source, checkpoint); err != nil {
		return Checkpoint{}, err
	}
	out := exporter{source: source, folder: folder, size: checkpoint.Size}
	if err := out.demandEarlier(ctx, checkpoint, public); err != nil {
		return Checkpoint{}, err
	}
	for out.tree.size < out.size {
		if err := out.bundle(ctx); err != nil {
			return Checkpoint{}, err
		}
	}
	for level, hashes := range out.tree.edge {
		if len(hashes) > 0 {
			number := out.size >> (tileHeight * (level + 1))
			if err := out.write(level, number, len(hashes), flat(hashes)); err != nil {
				return Checkpoint{}, err
			}
		}
	}
	// What was read for writing is what was read for verifying, or it does not get a checkpoint.
	if out.tree.Hash() != checkpoint.Hash {
		return Checkpoint{}, errors.New("the log changed while it was exported")
	}
	if err := writeWhole(filepath.Join(folder, keyName), []byte(public+"\n"), 0o644); err != nil {
		return Checkpoint{}, fmt.Errorf("export: %w", err)
	}
	if err := writeWhole(filepath.Join(folder, checkpointName), []byte(signed), 0o644); err != nil {
		return Checkpoint{}, fmt.Errorf("export: %w", err)
	}
	return checkpoint, nil
}

type exporter struct {
	source Source
	folder string
	size   int64
	tree   Tree
}

// demandEarlier refuses to write over an export that is not the beginning of this log.
func (e *exporter) demandEarlier(ctx context.Context, checkpoint Checkpoint, public string) error {
	signed, _, err := ReadFolder(e.folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return os.MkdirAll(e.folder, 0o755) //nolint:gosec // a log is there to be read by others
	case err != nil:
		return err
	}
	earlier, err := OpenCheckpoint(signed, public)
	if err != nil {
		return fmt.Errorf("the folder holds another log: %w", err)
	}
	if earlier.Size > checkpoint.Size {
		return &TamperError{
			First: checkpoint.Size, Last: checkpoint.Size,
			What: fmt.Sprintf("it is missing; %d leaves were exported before", earlier.Size),
		}
	}
	// Two checks, so that it is clear which of the two is not as it was.
	if err := Verify(ctx, OpenFolder(e.folder), earlier); err != nil {
		return fmt.Errorf("the folder's earlier export: %w", err)
	}
	return Verify(ctx, leavesWithTilesOf{e.source, OpenFolder(e.folder)}, earlier)
}

// leavesWithTilesOf has the leaves of one source and the tiles of another: where they differ is where
// the one was changed.
type leavesWithTilesOf struct {
	Source
	tiles Source
}

func (s leavesWithTilesOf) Hashes(ctx context.Context, level int, number int64, width int) ([]byte, error) {
	return s.tiles.Hashes(ctx, level, number, width)
}

// bundle writes the next bundle of leaves and the tiles that it fills.
func (e *exporter) bundle(ctx context.Context) error {
	number := e.tree.size >> tileHeight
	end := min((number+1)<<tileHeight, e.size)
	var packed bytes.Buffer
	for e.tree.size < end {
		leaves, err := e.source.Leaves(ctx, e.tree.size, int(end-e.tree.size))
		if err != nil {
			return err
		}
		if len(leaves) == 0 {
			return ErrAbsent
		}
		for _, leaf := range leaves[:min(int64(len(leaves)), end-e.tree.size)] {
			if len(leaf) > maxLeaf {
				return fmt.Errorf("leaf %d has %d bytes, want at most %d", e.tree.size, len(leaf), maxLeaf)
			}
			packed.Write(binary.BigEndian.AppendUint16(nil, uint16(len(leaf)))) //nolint:gosec // bounded above
			packed.Write(leaf)
			for _, tile := range e.tree.grow(tlog.RecordHash(leaf)) {
				if err := e.write(tile.Level, tile.Number, tileWidth, tile.Hashes); err != nil {
					return err
				}
			}
		}
	}
	return e.write(-1, number, int(end-number<<tileHeight), packed.Bytes())
}

// write puts one file of the log in place; level -1 is for bundles of leaves.
func (e *exporter) write(level int, number int64, width int, content []byte) error {
	path := filepath.Join(e.folder, tilePath(level, number, width))
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as above
		return fmt.Errorf("export: %w", err)
	}
	if err := writeWhole(path, content, 0o644); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// tilePath returns the path of a file: as in sumdb, without the height and with "entries" for the
// leaves (C2SP tlog-tiles).
func tilePath(level int, number int64, width int) string {
	folder := entriesFolder
	if level >= 0 {
		folder = fmt.Sprint(level)
	}
	name := fmt.Sprintf("%03d", number%1000)
	for number >= 1000 {
		number /= 1000
		name = fmt.Sprintf("x%03d/%s", number%1000, name)
	}
	if width != tileWidth {
		name += fmt.Sprintf(".p/%d", width)
	}
	return filepath.Join("tile", folder, filepath.FromSlash(name))
}

// ReadFolder returns the signed checkpoint of an exported log and the public key that lies beside it.
// A key that comes with the log shows that nothing broke, not who wrote it.
func ReadFolder(folder string) (signed, public string, err error) {
	note, err := readBounded(filepath.Join(folder, checkpointName), maxNote)
	if err != nil {
		return "", "", err
	}
	key, err := readBounded(filepath.Join(folder, keyName), maxNote)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	return string(note), string(bytes.TrimSpace(key)), nil
}

// OpenFolder returns the exported log in a folder as a source.
func OpenFolder(folder string) Source { return exported(folder) }

type exported string

// Leaves reads a bundle. A full one is taken before the parts that earlier exports left.
func (f exported) Leaves(_ context.Context, start int64, limit int) ([][]byte, error) {
	number, offset := start>>tileHeight, int(start%tileWidth)
	for width := tileWidth; width > offset; width-- {
		data, err := readBounded(filepath.Join(string(f), tilePath(-1, number, width)), maxBundle)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		leaves := unpack(data)
		if offset >= len(leaves) {
			return nil, ErrAbsent
		}
		return leaves[offset:min(len(leaves), offset+limit)], nil
	}
	return nil, ErrAbsent
}

// unpack returns the whole leaves of a bundle; what is behind them is not looked at, and is missing
// wherever it should have been a leaf.
func unpack(data []byte) [][]byte {
	var leaves [][]byte
	for len(data) >= 2 && len(leaves) < tileWidth {
		size := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+size {
			break
		}
		leaves = append(leaves, data[2:2+size:2+size])
		data = data[2+size:]
	}
	return leaves
}

// Hashes reads a tile; one that is not there is none that was kept.
func (f exported) Hashes(_ context.Context, level int, number int64, width int) ([]byte, error) {
	data, err := readBounded(filepath.Join(string(f), tilePath(level, number, width)), tileBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

func readBounded(path string, most int) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // inside a folder that the caller names
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, int64(most)+1))
	if err != nil {
		return nil, err
	}
	if len(data) > most {
		return nil, &attestd.CallerError{
			Class: attestd.ClassTooLarge, Hint: "check that the folder is an exported audit log",
			Err: fmt.Errorf("%s has more than %d bytes", filepath.Base(path), most),
		}
	}
	return data, nil
}
