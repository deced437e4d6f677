package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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
	insert      *sql.Stmt
	use         *sql.Stmt
	look        *sql.Stmt
	keep        *sql.Stmt
	pulse       *sql.Stmt
	know        *sql.Stmt
	keys        int // rows of attestation_keys
	maxKeys     int

	queue   chan *write
	closing chan struct{}
	close1  sync.Once
	ended   chan struct{}
	commits atomic.Uint64
}

func newWriter(
	ctx context.Context, database *sql.DB, limits Limits, clock *Clock, open files,
) (*writer, error) {
	conn, err := database.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	w := &writer{
		clock: clock, limits: limits, conn: conn, files: open, maxKeys: maxAttestationKey,
		queue: make(chan *write, maxBatch), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	for _, statement := range []struct {
		into  **sql.Stmt
		query string
	}{
		{&w.insert, insertChallenge}, {&w.use, useChallenge}, {&w.look, lookAtChallenge},
		{&w.keep, insertAppraisal}, {&w.pulse, beat}, {&w.know, insertKey},
	} {
		if *statement.into, err = conn.PrepareContext(ctx, statement.query); err != nil {
			return nil, errors.Join(fmt.Errorf("open store: %w", err), conn.Close())
		}
	}
	if err := w.recount(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go w.loop(context.WithoutCancel(ctx))
	return w, nil
}

const beat = `INSERT INTO pulse (one, beat_at) VALUES (1, ?)
	ON CONFLICT (one) DO UPDATE SET beat_at = excluded.beat_at`

// do queues run and waits for the commit that carries it. Where ctx ends first, run may still be
// carried out: a nonce that was handed in is then used, and nobody learns of it.
func (w *writer) do(ctx context.Context, run func(ctx context.Context, w *writer) error) error {
	item := &write{ctx: ctx, run: run, done: make(chan struct{})}
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
	for _, statement := range []*sql.Stmt{w.insert, w.use, w.look, w.keep, w.pulse, w.know} {
		_ = statement.Close()
	}
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
	err := w.transaction(ctx, batch)
	if err == nil {
		w.commits.Add(1)
		return
	}
	_, _ = w.conn.ExecContext(ctx, "ROLLBACK") // it may have been rolled back already
	for _, item := range batch {
		item.err = err
	}
	// The counts may be ahead of what was rolled back; where they cannot be read again they stay too
	// high, which refuses and never lets through.
	_ = w.recount(ctx)
}

func (w *writer) transaction(ctx context.Context, batch []*write) error {
	if err := w.files.demandSame(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if _, err := w.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	for _, item := range batch {
		if item.err = item.ctx.Err(); item.err != nil {
			continue // nobody waits for it any more
		}
		item.err = item.run(ctx, w)
		var refused refusal
		if item.err != nil && !errors.As(item.err, &refused) {
			return fmt.Errorf("store: %w", item.err)
		}
	}
	if _, err := w.conn.ExecContext(ctx, "COMMIT"); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}
