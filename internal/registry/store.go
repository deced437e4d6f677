package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite", without cgo

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/operator"
)

// Config says how a store is opened. Path, Clock and Limits are required.
type Config struct {
	// Path of the database file; its folder must exist.
	Path string
	// Clock is the time by which challenges live and die.
	Clock *Clock
	// Limits bound what is kept.
	Limits Limits
	// Index is loaded when the store is opened and told of every commit; nil where nothing is granted
	// from memory.
	Index Index
	// Inventory is loaded and told likewise; nil where nobody is decided about.
	Inventory Inventory
	// Reserve is how many bytes of free space are set aside: below it only holds and records of the
	// audit log are written. 0 sets none aside.
	Reserve uint64
	// AcceptRollback opens a database that is behind what this machine has seen. It is for one start
	// after a restore, at an operator's word.
	AcceptRollback bool
}

// Limits bound what callers can make a store keep.
type Limits struct {
	// Outstanding, PerTenant and PerSource are the most challenges that may wait for evidence: in
	// all, of one tenant, for one source address. Without them a caller fills the disk, and with one
	// bound alone it locks out everybody else.
	Outstanding, PerTenant, PerSource int
	// Appraisals is the most appraisals kept, and KeepAppraisals the longest; the oldest go first.
	Appraisals     int
	KeepAppraisals time.Duration
}

func (l Limits) check() error {
	if l.Outstanding <= 0 || l.PerTenant <= 0 || l.PerSource <= 0 || l.Appraisals <= 0 ||
		l.KeepAppraisals <= 0 {
		return fmt.Errorf("store limits must all be above zero, got %+v", l)
	}
	return nil
}

// Store is safe for concurrent use.
type Store struct {
	clock   *Clock
	path    string
	writing *sql.DB
	reading *sql.DB
	reads   reads
	guard   *guard
	writer  *writer
	janitor sync.WaitGroup
	stop    context.CancelFunc
}

// driverName is the driver of every database that is opened here.
var driverName = "sqlite"

// purgeEvery is how often expired rows are removed, guardEvery how often the guard is written.
const (
	purgeEvery = 5 * time.Second
	guardEvery = time.Second
)

// Open opens the database, brings its schema up to date and starts the store's two goroutines, which
// Close ends.
//
// Errors: where the file cannot be opened, is not durable (WAL and synchronous=FULL are read back),
// is open to others, is from a newer attestd, or holds rows from the future.
func Open(ctx context.Context, config Config) (*Store, error) {
	if config.Path == "" || config.Clock == nil {
		return nil, errors.New("a store needs a path and a clock")
	}
	if err := config.Limits.check(); err != nil {
		return nil, err
	}
	if err := createDatabase(config.Path); err != nil {
		return nil, err
	}
	store := &Store{clock: config.Clock, path: config.Path}
	if err := store.open(ctx, config); err != nil {
		_ = store.closeDatabases()
		return nil, err
	}
	return store, nil
}

func (s *Store) open(ctx context.Context, config Config) error {
	var err error
	if s.guard, err = openGuard(config.Path + ".guard"); err != nil {
		return err
	}
	// Documents and evidence of some 4 KiB fit a page of twice that: with SQLite's own 4 KiB each takes
	// two, and a commit a tenth longer. A database that is there keeps what it was made with.
	if s.writing, err = openDatabase(config.Path, 1, "page_size(8192)", "synchronous(FULL)",
		"journal_mode(WAL)",
		"foreign_keys(1)", "journal_size_limit(67108864)", "wal_autocheckpoint(2000)"); err != nil {
		return err
	}
	if err := migrate(ctx, s.writing, migrations); err != nil {
		return err
	}
	if err := demandDurable(ctx, s.writing); err != nil {
		return err
	}
	if err := demandSchema(ctx, s.writing); err != nil {
		return err
	}
	if err := s.guard.demandNewest(ctx, s.writing, config.AcceptRollback); err != nil {
		return err
	}
	// Before anything reads: a connection that is opened while the log is gone makes a new one, and
	// that one would then be taken for the writer's.
	open := filesOf(config.Path)
	if s.reading, err = openDatabase(config.Path, 2, "query_only(1)"); err != nil {
		return err
	}
	if err := s.reads.prepare(ctx, s.reading); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if err := s.demandClock(ctx); err != nil {
		return err
	}
	if config.Index != nil {
		if err := s.loadIndex(ctx, config.Index); err != nil {
			return err
		}
	}
	if config.Inventory != nil {
		if err := config.Inventory.Load(s.AllRecords(ctx)); err != nil {
			return fmt.Errorf("load the inventory: %w", err)
		}
	}
	if err := open.demandSame(); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if s.writer, err = newWriter(ctx, s.writing, config, open, s.guard); err != nil {
		return err
	}
	if err := s.recordRollback(ctx); err != nil {
		s.writer.close()
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.janitor.Add(1)
	go s.purgeRegularly(running)
	return nil
}

// recordRollback leaves a record where this run goes on from an older copy.
func (s *Store) recordRollback(ctx context.Context) error {
	if !s.guard.accepted {
		return nil
	}
	return s.Audit(ctx, []audit.Record{{
		At: s.clock.Now(), Actor: "attestd", Tenant: operator.AllTenants, Action: "store.rollback",
		Target: "store", Outcome: "done", Reason: s.guard.why,
	}})
}

// openDatabase opens path with the pragmas given. The page cache is kept small: rows are short and
// the machine's own cache serves the rest.
func openDatabase(path string, connections int, pragmas ...string) (*sql.DB, error) {
	query := url.Values{}
	for _, pragma := range append(pragmas, "busy_timeout(5000)", "cache_size(-512)") {
		query.Add("_pragma", pragma)
	}
	source := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query.Encode()}
	database, err := sql.Open(driverName, source.String())
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	database.SetMaxOpenConns(connections)
	database.SetMaxIdleConns(connections)
	return database, nil
}

// demandDurable reads back what was asked for. A store that forgets a used nonce on power loss
// accepts it again.
func demandDurable(ctx context.Context, database *sql.DB) error {
	var journal string
	var synchronous int
	if err := database.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&journal); err != nil {
		return fmt.Errorf("store journal mode: %w", err)
	}
	if err := database.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&synchronous); err != nil {
		return fmt.Errorf("store synchronous mode: %w", err)
	}
	const full = 2
	if journal != "wal" || synchronous != full {
		return fmt.Errorf("store is not durable: journal_mode %s, synchronous %s; want wal, %d",
			strconv.Quote(journal), strconv.Itoa(synchronous), full)
	}
	return nil
}

func (s *Store) demandClock(ctx context.Context) error {
	var newest int64
	err := s.reading.QueryRowContext(ctx, `SELECT max(
		coalesce((SELECT max(max(issued_at), coalesce(max(used_at), 0)) FROM challenges), 0),
		coalesce((SELECT beat_at FROM pulse), 0),
		coalesce((SELECT max(seen_at) FROM attestation_keys), 0),
		coalesce((SELECT created_at FROM appraisals ORDER BY number DESC LIMIT 1), 0))`).Scan(&newest)
	if err != nil {
		return fmt.Errorf("store clock: %w", err)
	}
	if err := s.clock.startFrom(time.Unix(0, newest).UTC()); err != nil {
		return &attestd.CallerError{
			Class: attestd.ClassConfig,
			Hint: "set the machine's clock; if the rows are the wrong ones, move the store's file " +
				"away: outstanding challenges and stored verdicts go with it",
			Err: err,
		}
	}
	return nil
}

// Now returns the time by the store's clock.
func (s *Store) Now() time.Time { return s.clock.Now() }

// ClockBehind returns by how much the wall clock went back since the store was opened.
func (s *Store) ClockBehind() time.Duration { return s.clock.Behind() }

// Pulse writes durably and returns nil where that worked: the store can consume challenges.
func (s *Store) Pulse(ctx context.Context) error {
	return s.writer.do(ctx, func(ctx context.Context, w *writer) error {
		_, err := w.pulse.ExecContext(ctx, s.clock.Now().UnixNano())
		return err
	})
}

// Commits returns how many durable commits were made since the store was opened.
func (s *Store) Commits() uint64 { return s.writer.commits.Load() }

// Close waits for the writes that were accepted and closes the database. Later calls fail.
func (s *Store) Close() error {
	s.stop()
	s.janitor.Wait()
	s.writer.close()
	return s.closeDatabases()
}

func (s *Store) closeDatabases() error {
	var errs []error
	s.reads.close()
	for _, database := range []*sql.DB{s.reading, s.writing} {
		if database != nil {
			errs = append(errs, database.Close())
		}
	}
	if s.guard != nil {
		errs = append(errs, s.guard.close())
	}
	return errors.Join(errs...)
}

func (s *Store) purgeRegularly(ctx context.Context) {
	defer s.janitor.Done()
	purging := time.NewTicker(purgeEvery)
	defer purging.Stop()
	guarding := time.NewTicker(guardEvery)
	defer guarding.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-purging.C:
			// A purge that fails is tried again; the limits hold meanwhile.
			_ = s.Purge(ctx)
		case <-guarding.C:
			s.guard.keep()
		}
	}
}
