package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/subject"
)

// maxBatch is the most writes that share one commit, and with it the most that one failed commit
// takes down.
const maxBatch = 128

// errClosed is what writes get after Close.
var errClosed = errors.New("the store is closed")

// refusal is an error that a write returns for itself without harm to those it shares a commit with.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// write is one statement that waits for its commit.
type write struct {
	ctx  context.Context
	rank priority
	run  func(ctx context.Context, w *writer) error
	err  error
	done chan struct{}
}

// writer owns the only connection that writes, and with it everything that must change in step with
// the database.
type writer struct {
	clock       *Clock
	limits      Limits
	conn        *sql.Conn
	files       files
	outstanding outstanding
	statements
	keys    int // rows of attestation_keys
	maxKeys int

	index     Index
	inventory Inventory
	space     space
	guard     *guard
	// before is the number of commits in the database, tree the audit log as committed; growing and
	// made are those of the running transaction.
	before  uint64
	tree    *audit.Tree
	growing *audit.Tree
	made    made
	// doubt is what a commit would have changed whose failure was reported.
	doubt made
	// barred has the keys that are held, as the running transaction has them: a key without a hold
	// costs no query.
	barred map[subject.Key]bool
	// committed is tree for readers on other goroutines.
	committed atomic.Pointer[audit.Tree]
	figures   figures

	queue   chan *write
	closing chan struct{}
	close1  sync.Once
	ended   chan struct{}
	commits atomic.Uint64
}

func newWriter(
	ctx context.Context, database *sql.DB, config Config, open files, guard *guard,
) (*writer, error) {
	conn, err := database.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	w := &writer{
		clock: config.Clock, limits: config.Limits, conn: conn, files: open, maxKeys: maxAttestationKey,
		index: config.Index, inventory: config.Inventory, space: spaceOf(config), guard: guard,
		queue: make(chan *write, maxBatch), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	err = w.statements.prepare(ctx, conn)
	for _, step := range []func(context.Context) error{w.reread, w.figures.count(conn)} {
		if err == nil {
			err = step(ctx)
		}
	}
	if err != nil {
		w.release()
		return nil, fmt.Errorf("open store: %w", err)
	}
	go w.loop(context.WithoutCancel(ctx))
	return w, nil
}

const beat = `INSERT INTO pulse (one, beat_at) VALUES (1, ?)
	ON CONFLICT (one) DO UPDATE SET beat_at = excluded.beat_at`

// do queues run and waits for the commit that carries it. Where ctx ends first, run may still be
// carried out: a nonce that was handed in is then used, and nobody learns of it.
func (w *writer) do(ctx context.Context, run func(ctx context.Context, w *writer) error) error {
	return w.doAs(ctx, ordinary, run)
}

func (w *writer) doAs(
	ctx context.Context, rank priority, run func(ctx context.Context, w *writer) error,
) error {
	item := &write{ctx: ctx, rank: rank, run: run, done: make(chan struct{})}
	select {
	case <-w.closing:
		return errClosed
	default:
	}
	select {
	case w.queue <- item:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.closing:
		return errClosed
	}
	select {
	case <-item.done:
		return item.err
	case <-ctx.Done():
		return ctx.Err()
	case <-w.ended:
		select { // it may have been in the last batch
		case <-item.done:
			return item.err
		default:
			return errClosed
		}
	}
}

// close lets the current batch finish and ends the loop.
func (w *writer) close() {
	w.close1.Do(func() { close(w.closing) })
	<-w.ended
}

func (w *writer) loop(ctx context.Context) {
	defer close(w.ended)
	defer w.release()
	for {
		select {
		case <-w.closing:
			return
		case first := <-w.queue:
			batch := w.gather(first)
			w.commit(ctx, batch)
			for _, item := range batch {
				close(item.done)
			}
		}
	}
}

// release closes statements before their connection: SQLite folds the log into the database only
// when nothing holds it open any more.
func (w *writer) release() {
	w.statements.close()
	_ = w.conn.Close()
}

// gather takes what arrived during the last commit; it never waits.
func (w *writer) gather(first *write) []*write {
	batch := []*write{first}
	for len(batch) < maxBatch {
		select {
		case item := <-w.queue:
			batch = append(batch, item)
		default:
			return batch
		}
	}
	return batch
}

// commit runs a batch in one transaction. Where the database fails one of them, all fail and none is
// written: after an error of the disk nothing in the transaction can be relied on.
func (w *writer) commit(ctx context.Context, batch []*write) {
	start := time.Now() // a figure, and no decision
	err := w.transaction(ctx, batch)
	w.figures.took(time.Since(start), err)
	if err == nil {
		w.publish()
		return
	}
	for _, item := range batch {
		item.err = err
	}
	w.doubt = w.made
	// Where this fails, no later transaction begins before it works.
	_ = w.reread(ctx)
}

// publish makes a commit known: to the index first, so that it is in force before anybody is told.
func (w *writer) publish() {
	w.commits.Add(1)
	w.before++
	w.tree = w.growing
	w.committed.Store(w.tree)
	w.tell(w.made)
	w.guard.saw(w.before, w.tree.Size())
	if w.made.holds {
		w.guard.keep()
	}
}

// tell makes known what a commit changed.
func (w *writer) tell(made made) {
	if w.index != nil && len(made.subjects)+len(made.bars) > 0 {
		w.index.Publish(made.subjects, made.bars)
	}
	if w.inventory != nil && len(made.records) > 0 {
		w.inventory.Publish(made.records)
	}
	w.figures.add(made)
}

// number is that of the commit which the running transaction will be.
func (w *writer) number() uint64 { return w.before + 1 }

// reread reads from the database what a failed commit leaves in doubt. Until it was read nothing is
// written: tree is nil meanwhile.
func (w *writer) reread(ctx context.Context) error {
	w.tree = nil
	// What is read is what was committed, of one moment: a transaction whose end failed with it would
	// show what is nowhere else.
	_, _ = w.conn.ExecContext(ctx, "ROLLBACK") // it may have been rolled back already
	if _, err := w.conn.ExecContext(ctx, "BEGIN"); err != nil {
		return fmt.Errorf("read what was committed: %w", err)
	}
	err := w.readAnew(ctx)
	if _, ended := w.conn.ExecContext(ctx, "ROLLBACK"); err == nil {
		err = ended
	}
	if err != nil {
		w.tree = nil
		return err
	}
	w.committed.Store(w.tree)
	return nil
}

func (w *writer) readAnew(ctx context.Context) error {
	var carriedOut uint64
	if err := w.conn.QueryRowContext(ctx, "SELECT commits FROM meta").Scan(&carriedOut); err != nil {
		return fmt.Errorf("count commits: %w", err)
	}
	// A commit whose failure was reported can be on disk all the same. Nobody was told that it is; the
	// index must know, or it would grant what a restart refuses.
	if carriedOut == w.before+1 {
		w.tell(w.doubt)
	}
	w.before, w.doubt = carriedOut, made{}
	if err := w.recount(ctx); err != nil {
		return err
	}
	if err := w.rereadBars(ctx); err != nil {
		return err
	}
	return w.resumeLog(ctx)
}

func (w *writer) transaction(ctx context.Context, batch []*write) error {
	if err := w.files.demandSame(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if w.tree == nil {
		if err := w.reread(ctx); err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	low := w.space.low()
	w.growing, w.made = w.tree.Clone(), made{}
	if _, err := w.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	for _, item := range batch {
		if item.err = item.ctx.Err(); item.err != nil {
			continue // nobody waits for it any more
		}
		if low && item.rank == ordinary {
			item.err = refusal{errSpace()}
			continue
		}
		item.err = item.run(ctx, w)
		var refused refusal
		if item.err != nil && !errors.As(item.err, &refused) {
			return fmt.Errorf("store: %w", item.err)
		}
	}
	if err := demandOne(w.count.ExecContext(ctx, int64(w.before))); err != nil { //nolint:gosec // a count
		return fmt.Errorf("store: count commits: %w", err)
	}
	if _, err := w.conn.ExecContext(ctx, "COMMIT"); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// countCommit fails where another process wrote since this one last did.
const countCommit = `UPDATE meta SET commits = commits + 1 WHERE commits = ?`

func errSpace() error {
	return &attestd.UndecidedError{
		Check: checkStore, Class: attestd.ClassStoreUnavailable,
		Got: "less free space than store.reserve", Want: "room for ordinary writes",
		Hint: "make room on the disk of state_dir; holds and their records are still written",
	}
}
