package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Index answers from memory in which state subjects are. What was committed is published to it in the
// order of the commits, by one goroutine, before anybody is told that it was.
type Index interface {
	// Load takes up everything there is; at is the time by the store's clock.
	Load(at time.Time, subjects iter.Seq2[subject.Subject, error], bars iter.Seq2[subject.Bar, error]) error
	// Publish takes up what a commit changed. Generations of subjects and bars are those stored.
	Publish(subjects []subject.Subject, bars []subject.BarWrite)
}

// made is what the running transaction changes of what the index has.
type made struct {
	subjects []subject.Subject
	bars     []subject.BarWrite
	// holds says that a bar was laid: the guard against older copies must know of it before the
	// acknowledgement.
	holds bool
}

func (s *Store) loadIndex(ctx context.Context, index Index) error {
	bars := rowsOf(ctx, s, selectBar, scanBar)
	if err := index.Load(s.clock.Now(), s.allSubjects(ctx), bars); err != nil {
		return fmt.Errorf("load the index of subjects: %w", err)
	}
	return nil
}

// What the index keeps of a subject. A million rows are read for each start: a column left out here is
// a tenth of a second.
const selectLive = `SELECT coalesce(id, fold), tenant, format, instance, boot, host, ownership, state,
	generation, epoch, floor, signals, evidence_at, due_at FROM subjects WHERE number BETWEEN ? AND ?`

func scanLive(row scanner) (subject.Subject, error) {
	var one subject.Subject
	var signals sql.NullString
	var floor int
	var at, due int64
	err := row.Scan(&one.ID, &one.Tenant, &one.Format, &one.Instance.Value, &one.Boot, &one.Host,
		&one.Ownership, &one.State, &one.Generation, &one.Epoch, &floor, &signals, &at, &due)
	if err != nil {
		return subject.Subject{}, err
	}
	if one.Instance.Value != "" {
		one.Instance.Kind = attestd.HandleInstance
	}
	one.Floor, one.EvidenceAt, one.DueAt = attestd.Risk(floor), moment(at), moment(due)
	return one, readSignals(&one, signals)
}

// readers is how many connections read subjects at a start, chunk how many subjects they hand over at
// a time.
const (
	readers = 2
	chunk   = 512
)

// allSubjects returns what the index keeps of all subjects, in no order, and the error that ends them.
// Nothing is written meanwhile: the writer is not there yet.
func (s *Store) allSubjects(ctx context.Context) iter.Seq2[subject.Subject, error] {
	return func(yield func(subject.Subject, error) bool) {
		var most int64
		err := s.reading.QueryRowContext(ctx, "SELECT coalesce(max(number), 0) FROM subjects").Scan(&most)
		if err != nil {
			yield(subject.Subject{}, err)
			return
		}
		reading, stop := context.WithCancel(ctx)
		defer stop()
		chunks := make(chan []subject.Subject, readers)
		var all sync.WaitGroup
		errs := make([]error, readers)
		for part := range readers {
			all.Go(func() {
				low, high := most*int64(part)/readers+1, most*int64(part+1)/readers
				errs[part] = s.readPart(reading, chunks, low, high)
			})
		}
		go func() {
			all.Wait()
			close(chunks)
		}()
		for list := range chunks {
			for _, one := range list {
				if !yield(one, nil) {
					stop()
					for range chunks { // until the readers have seen it
					}
					return
				}
			}
		}
		if err := errors.Join(errs...); err != nil {
			yield(subject.Subject{}, err)
		}
	}
}

func (s *Store) readPart(ctx context.Context, into chan<- []subject.Subject, from, to int64) error {
	rows, err := s.reading.QueryContext(ctx, selectLive, from, to)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	list := make([]subject.Subject, 0, chunk)
	hand := func() error {
		select {
		case into <- list:
			list = make([]subject.Subject, 0, chunk)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for rows.Next() {
		one, err := scanLive(rows)
		if err != nil {
			return err
		}
		if list = append(list, one); len(list) == chunk {
			if err := hand(); err != nil {
				return err
			}
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return hand()
}

// rowsOf returns all rows of a query, and the error that ends them.
func rowsOf[T any](
	ctx context.Context, s *Store, query string, scan func(scanner) (T, error),
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		rows, err := s.reading.QueryContext(ctx, query)
		if err != nil {
			yield(none, err)
			return
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			one, err := scan(rows)
			if !yield(one, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(none, err)
		}
	}
}
