package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestd/attestd"
)

// Store is where a log lies: whoever appends to it does so in transactions of its own.
type Store interface {
	Reader
	// AuditSize returns the number of leaves that are durable.
	AuditSize(ctx context.Context) (int64, error)
}

// Config is what [Open] needs; every field is required.
type Config struct {
	Store  Store
	Signer Signer
	// Path of the file with the newest checkpoint. It lies outside the database: a database that was
	// put back to an older state does not have its leaves.
	Path string
}

// Log signs checkpoints of what a store holds and reads it back. It is safe for concurrent use.
type Log struct {
	store  Store
	signer Signer
	path   string

	mu sync.Mutex
	// tree is that of the newest checkpoint, signed is that checkpoint.
	tree   *Tree
	signed string
}

// Open returns the log in a store, after the newest checkpoint that was signed of it.
//
// Errors: a [*attestd.CallerError] of class CONFIG that is [ErrOtherHistory] where the store is not what
// that checkpoint says: a signer that goes on nevertheless has two histories under its name.
func Open(ctx context.Context, config Config) (*Log, error) {
	if config.Store == nil || config.Signer == nil || config.Path == "" {
		return nil, errors.New("an audit log needs a store, a signer and a path")
	}
	log := &Log{store: config.Store, signer: config.Signer, path: config.Path, tree: &Tree{}}
	signed, err := readBounded(config.Path, maxNote)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := log.Checkpoint(ctx); err != nil {
			return nil, err
		}
		return log, nil
	case err != nil:
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	last, err := OpenCheckpoint(string(signed), config.Signer.Public())
	if err != nil {
		return nil, otherLog(err)
	}
	size, err := config.Store.AuditSize(ctx)
	if err != nil {
		return nil, err
	}
	if size < last.Size {
		return nil, otherLog(&TamperError{First: size, Last: size, What: fmt.Sprintf(
			"it is missing; a checkpoint of %d leaves was signed", last.Size)})
	}
	tree, err := Resume(ctx, config.Store, last.Size)
	if err != nil {
		return nil, err
	}
	if tree.Hash() != last.Hash {
		return nil, otherLog(fmt.Errorf("the store's first %d leaves are not those that were signed", last.Size))
	}
	log.tree, log.signed = tree, string(signed)
	return log, nil
}

// ErrOtherHistory says that a store does not go on from the newest checkpoint.
var ErrOtherHistory = errors.New("the audit log in the database is not the one that was signed")

func otherLog(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig,
		Hint: "put the database back that belongs to audit.checkpoint; after a restore on purpose, move " +
			"that file and audit.key away together: a new log begins",
		Err: fmt.Errorf("%w: %w", ErrOtherHistory, err),
	}
}

// SetAside renames the key, its public half and the newest checkpoint, so that a new log begins under a
// new key. It is for after an operator confirmed that the database was put back: the old key never signs
// a second history, and what it signed is still there to be compared with.
func SetAside(keyPath, checkpointPath string, at time.Time) error {
	suffix := ".until-" + at.UTC().Format("20060102T150405Z")
	// The key goes first: a checkpoint that is gone while its key is there would be signed anew.
	for _, path := range []string{keyPath, keyPath + ".pub", checkpointPath} {
		if _, err := os.Lstat(path + suffix); err == nil {
			return fmt.Errorf("set audit log aside: %s is there already", path+suffix)
		}
		if err := os.Rename(path, path+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set audit log aside: %w", err)
		}
	}
	return syncFolder(filepath.Dir(keyPath))
}

// Leaves that are read at a time.
const batch = 1024

// Checkpoint signs what the store holds by now and returns the signed note. It is in its file before it
// is returned to anybody.
func (l *Log) Checkpoint(ctx context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	size, err := l.store.AuditSize(ctx)
	if err != nil {
		return "", err
	}
	if size < l.tree.size {
		return "", &TamperError{First: size, Last: size, What: fmt.Sprintf(
			"it is missing; a checkpoint of %d leaves was signed", l.tree.size)}
	}
	if size == l.tree.size && l.signed != "" {
		return l.signed, nil
	}
	next := l.tree.Clone()
	for next.size < size {
		leaves, err := l.store.AuditLeaves(ctx, next.size, int(min(size-next.size, batch)))
		if err != nil {
			return "", err
		}
		if len(leaves) == 0 {
			return "", ErrAbsent
		}
		for _, leaf := range leaves {
			next.grow(tlog.RecordHash(leaf))
		}
	}
	signed, err := Checkpoint{Origin: l.signer.Name(), Size: next.size, Hash: next.Hash()}.Sign(l.signer)
	if err != nil {
		return "", err
	}
	if err := writeWhole(l.path, []byte(signed), 0o644); err != nil {
		return "", fmt.Errorf("write checkpoint: %w", err)
	}
	l.tree, l.signed = next, signed
	return signed, nil
}

// Public returns the key that checkpoints are signed by.
func (l *Log) Public() string { return l.signer.Public() }

// Page is a part of a log.
type Page struct {
	Start   int64
	Leaves  [][]byte
	Records []Record
	Size    int64
	// Checkpoint covers the page.
	Checkpoint string
}

// Read returns what a leaf says. One that is in no form that was ever written is shown as that: whoever
// changed it must not thereby keep the others from being read.
func Read(leaf []byte) Record {
	record, err := Decode(leaf)
	if err != nil {
		return Record{Actor: "?", Tenant: "*", Action: "unreadable", Outcome: "failed", Reason: err.Error()}
	}
	return record
}

// most leaves of a page.
const pageMost = 1000

// Entries returns leaves from start on, at most limit, and a checkpoint that covers them. A start
// behind the end is an empty page.
func (l *Log) Entries(ctx context.Context, start int64, limit int) (Page, error) {
	if start < 0 || limit < 1 || limit > pageMost {
		return Page{}, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: fmt.Sprintf("start from 0 on, limit 1 to %d", pageMost),
			Err: fmt.Errorf("audit entries from %d on, at most %d", start, limit),
		}
	}
	signed, err := l.Checkpoint(ctx)
	if err != nil {
		return Page{}, err
	}
	checkpoint, err := OpenCheckpoint(signed, l.signer.Public())
	if err != nil {
		return Page{}, err
	}
	page := Page{Start: start, Size: checkpoint.Size, Checkpoint: signed}
	if start >= page.Size {
		return page, nil
	}
	page.Leaves, err = l.store.AuditLeaves(ctx, start, int(min(page.Size-start, int64(limit))))
	if err != nil {
		return Page{}, err
	}
	for _, leaf := range page.Leaves {
		page.Records = append(page.Records, Read(leaf))
	}
	return page, nil
}

// Verify reads the whole log in the store and compares it with the newest checkpoint.
//
// Errors: as [Verify].
func (l *Log) Verify(ctx context.Context) error {
	l.mu.Lock()
	signed := l.signed
	l.mu.Unlock()
	checkpoint, err := OpenCheckpoint(signed, l.signer.Public())
	if err != nil {
		return err
	}
	return Verify(ctx, StoredSource(l.store), checkpoint)
}

// stored is a store as a source.
type stored struct{ Reader }

// StoredSource returns a store as a source.
func StoredSource(reader Reader) Source { return stored{reader} }

func (s stored) Leaves(ctx context.Context, start int64, limit int) ([][]byte, error) {
	return s.AuditLeaves(ctx, start, limit)
}

// Hashes has full tiles alone: a store keeps no others.
func (s stored) Hashes(ctx context.Context, level int, number int64, width int) ([]byte, error) {
	if width != tileWidth {
		return nil, nil
	}
	data, err := s.AuditTile(ctx, level, number)
	if errors.Is(err, ErrAbsent) {
		return nil, nil
	}
	return data, err
}

// lastTime bounds the last checkpoint of a run: a store that hangs does not keep the program from
// ending.
const lastTime = 5 * time.Second

// Run signs a checkpoint every so often until ctx ends, and then one more; it tells report how each
// went. What was appended in between is what a stolen disk could lack unseen: after an end in order
// that is next to nothing.
func (l *Log) Run(ctx context.Context, every time.Duration, report func(error)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTime)
			defer cancel()
			_, err := l.Checkpoint(limited)
			report(err)
			return
		case <-ticker.C:
			_, err := l.Checkpoint(ctx)
			if ctx.Err() == nil {
				report(err)
			}
		}
	}
}
