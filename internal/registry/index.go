package registry

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/nhi"
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
	// records is what it changes of the inventory.
	records []nhi.RecordWrite
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

func scanLive(row []driver.Value, one *subject.Subject) error {
	texts := []*string{(*string)(&one.ID), &one.Tenant, (*string)(&one.Format), &one.Instance.Value,
		&one.Boot, &one.Host, (*string)(&one.Ownership)}
	numbers := [6]int64{}
	for i := range texts {
		text, ok := row[i].(string)
		if !ok {
			return fmt.Errorf("column %d of a subject is %T, want text", i, row[i])
		}
		*texts[i] = text
	}
	at := [...]int{7, 8, 9, 10, 12, 13}
	for i, column := range at {
		number, ok := row[column].(int64)
		if !ok {
			return fmt.Errorf("column %d of a subject is %T, want a number", column, row[column])
		}
		numbers[i] = number
	}
	if one.Instance.Value != "" {
		one.Instance.Kind = attestd.HandleInstance
	}
	if numbers[0] < 0 || numbers[0] > int64(attestd.StateRevoked) {
		return fmt.Errorf("state %d of a subject is none", numbers[0])
	}
	one.State = attestd.State(numbers[0])                              //nolint:gosec // looked at
	one.Generation, one.Epoch = uint64(numbers[1]), uint64(numbers[2]) //nolint:gosec // as written
	one.Floor = attestd.Risk(int(numbers[3]))
	one.EvidenceAt, one.DueAt = moment(numbers[4]), moment(numbers[5])
	switch signals := row[11].(type) {
	case nil:
		return nil
	case string:
		return readSignals(one, sql.NullString{String: signals, Valid: true})
	default:
		return fmt.Errorf("signals of a subject are %T, want text", signals)
	}
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
		// spare has the lists that were read to their end, to be filled again.
		spare := make(chan []subject.Subject, 2*readers+1)
		var all sync.WaitGroup
		errs := make([]error, readers)
		for part := range readers {
			all.Go(func() {
				low, high := most*int64(part)/readers+1, most*int64(part+1)/readers
				errs[part] = s.readPart(reading, lists{chunks, spare}, low, high)
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
			select {
			case spare <- list[:0]:
			default:
			}
		}
		if err := errors.Join(errs...); err != nil {
			yield(subject.Subject{}, err)
		}
	}
}

// lists carry subjects from those who read them to whoever takes them up.
type lists struct{ full, spare chan []subject.Subject }

// next hands a list over and returns an empty one.
func (l lists) next(ctx context.Context, list []subject.Subject) ([]subject.Subject, error) {
	select {
	case l.full <- list:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case empty := <-l.spare:
		return empty, nil
	default:
		return make([]subject.Subject, 0, chunk), nil
	}
}

// readPart asks the driver itself: what database/sql does for each column of each row would be a third
// of the time to start with a million subjects.
func (s *Store) readPart(ctx context.Context, into lists, from, to int64) error {
	conn, err := s.reading.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return conn.Raw(func(raw any) error {
		queryer, ok := raw.(driver.QueryerContext)
		if !ok {
			return fmt.Errorf("the driver's connection is a %T, want one that can be queried", raw)
		}
		rows, err := queryer.QueryContext(ctx, selectLive,
			[]driver.NamedValue{{Ordinal: 1, Value: from}, {Ordinal: 2, Value: to}})
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		return readLists(ctx, into, rows)
	})
}

func readLists(ctx context.Context, into lists, rows driver.Rows) (err error) {
	list := make([]subject.Subject, 0, chunk)
	row := make([]driver.Value, len(rows.Columns()))
	for err == nil {
		switch err = rows.Next(row); {
		case errors.Is(err, io.EOF):
			_, err = into.next(ctx, list)
			return err
		case err != nil:
			return err
		}
		list = append(list, subject.Subject{})
		if err = scanLive(row, &list[len(list)-1]); err == nil && len(list) == chunk {
			list, err = into.next(ctx, list)
		}
	}
	return err
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
