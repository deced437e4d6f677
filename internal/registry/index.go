package registry

import (
	"context"
	"fmt"
	"iter"
	"time"

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
	subjects := rowsOf(ctx, s, selectSubject, scanSubject)
	bars := rowsOf(ctx, s, selectBar, scanBar)
	if err := index.Load(s.clock.Now(), subjects, bars); err != nil {
		return fmt.Errorf("load the index of subjects: %w", err)
	}
	return nil
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
