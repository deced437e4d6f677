package registry

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Health is what there is to know about a store besides whether it works (see [Store.Pulse]).
type Health struct {
	// Free is the space left on its disk and Reserve what of it is set aside for holds and their
	// records; Low says that ordinary writes are refused.
	Free, Reserve uint64
	Low           bool
	// Database and WAL are the sizes of its files.
	Database, WAL int64
	// Commits since the store was opened, and how long the last of them took, the fsync included.
	Commits       uint64
	P50, P99, Max time.Duration
	// Failed counts commits that failed since the store was opened, and LastFailure is the last one's
	// error, nil after one that worked.
	Failed      uint64
	LastFailure error
	// Guard is the error of the file beside the database by which older copies are known, nil for none.
	Guard error
	// RolledBack says that this run was started on an older copy, as confirmed by an operator.
	RolledBack bool
	Subjects   int
	Bars       int
	// Queue is how many writes wait for their commit.
	Queue int
	// AuditSize is the number of leaves of the audit log.
	AuditSize int64
	// Behind is by how much the wall clock is behind the store's.
	Behind time.Duration
}

// Health returns figures as of now. It does not wait for the writer.
func (s *Store) Health() Health {
	w := s.writer
	health := Health{
		Free: w.space.free(), Reserve: w.space.reserve, Low: w.space.low(),
		Database: sizeOf(s.path), WAL: sizeOf(s.path + "-wal"), Commits: w.commits.Load(),
		RolledBack: s.guard.accepted, Guard: s.guard.trouble(), Queue: len(w.queue),
		AuditSize: s.AuditTree().Size(), Behind: s.clock.Behind(),
	}
	w.figures.into(&health)
	return health
}

func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// space is that of the disk with the database.
type space struct {
	folder  string
	reserve uint64
}

func spaceOf(config Config) space {
	return space{folder: filepath.Dir(config.Path), reserve: config.Reserve}
}

// free returns how much is left. A disk that does not say is full.
func (s space) free() uint64 {
	var found unix.Statfs_t
	if err := unix.Statfs(s.folder, &found); err != nil {
		return 0
	}
	return uint64(found.Bavail) * uint64(found.Bsize) //nolint:gosec,unconvert // their types differ by system
}

func (s space) low() bool { return s.reserve > 0 && s.free() < s.reserve }

// figures are what was measured of the writer.
type figures struct {
	mu       sync.Mutex
	recent   [512]time.Duration
	seen     int
	failed   uint64
	last     error
	subjects int
	bars     int
}

func (f *figures) took(duration time.Duration, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = err
	if err != nil {
		f.failed++
		return
	}
	f.recent[f.seen%len(f.recent)] = duration
	f.seen++
}

// count returns the step that counts rows once; later on they are counted as they are written.
func (f *figures) count(conn *sql.Conn) func(context.Context) error {
	return func(ctx context.Context) error {
		return conn.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM subjects),
			(SELECT count(*) FROM bars)`).Scan(&f.subjects, &f.bars)
	}
}

func (f *figures) add(made made) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range made.subjects {
		if one.Generation == 1 {
			f.subjects++
		}
	}
	for _, one := range made.bars {
		switch {
		case one.Next == nil:
			f.bars--
		case one.Expect == 0:
			f.bars++
		}
	}
}

func (f *figures) into(health *Health) {
	f.mu.Lock()
	defer f.mu.Unlock()
	health.Failed, health.LastFailure = f.failed, f.last
	health.Subjects, health.Bars = f.subjects, f.bars
	sorted := slices.Clone(f.recent[:min(f.seen, len(f.recent))])
	if len(sorted) == 0 {
		return
	}
	slices.Sort(sorted)
	health.P50, health.P99 = sorted[len(sorted)/2], sorted[len(sorted)*99/100]
	health.Max = sorted[len(sorted)-1]
}
