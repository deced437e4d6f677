package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Write carries a write out as a whole, durably, and makes it known to the index before it returns;
// or nothing of it.
//
// Errors: a [*subject.MovedError] where what it was decided upon changed, a [*subject.BarredError]
// where a key that must be free is held, a [*attestd.CallerError] where it is no write that can be
// carried out, and an [*attestd.UndecidedError] of class STORE_UNAVAILABLE where the store cannot be
// written. After that last one the write may yet be found carried out when the store is next opened:
// what was not acknowledged is not known to have failed.
func (s *Store) Write(ctx context.Context, write subject.Write) error {
	if err := demandWrite(write); err != nil {
		return err
	}
	err := s.writer.doAs(ctx, priorityOf(write), func(ctx context.Context, w *writer) error {
		if err := w.demandStill(ctx, write); err != nil {
			return err
		}
		return w.apply(ctx, write)
	})
	return unavailable(ctx, err)
}

// priority says whether a write is carried out from the space that is set aside.
type priority bool

// What holds somebody, and the record of what was done, are written to the last byte.
const (
	ordinary  priority = false
	essential priority = true
)

func priorityOf(write subject.Write) priority {
	for _, bar := range write.Bars {
		if bar.Next != nil {
			return essential
		}
	}
	for _, one := range write.Subjects {
		if one.Next.State == attestd.StateQuarantined || one.Next.State == attestd.StateRevoked {
			return essential
		}
	}
	recordAlone := len(write.Audit) > 0 && len(write.Subjects) == 0 && len(write.Bars) == 0 &&
		len(write.Owners) == 0 && write.Token == nil && write.NewToken == nil
	return priority(recordAlone)
}

// demandStill returns an error where the write must not be carried out. It writes nothing: what comes
// after it in the transaction is not undone by itself.
func (w *writer) demandStill(ctx context.Context, write subject.Write) error {
	if err := w.demandUnbarred(ctx, write); err != nil {
		return err
	}
	for _, owned := range write.Owned {
		if err := w.demandOwner(ctx, owned.Key, owned.Expect); err != nil {
			return err
		}
	}
	for _, one := range write.Subjects {
		if err := w.demandSubject(ctx, one); err != nil {
			return err
		}
	}
	for _, one := range write.Bars {
		if err := w.demandBar(ctx, one); err != nil {
			return err
		}
	}
	for _, one := range write.Owners {
		if err := w.demandOwner(ctx, one.Key, one.Expect); err != nil {
			return err
		}
	}
	if write.Token != nil {
		return w.demandToken(ctx, *write.Token)
	}
	return nil
}

// demandUnbarred is the fence between a verdict and a hold that landed beside it. What becomes trusted
// is asked for its own keys, too, whether the write names them or not.
func (w *writer) demandUnbarred(ctx context.Context, write subject.Write) error {
	if len(w.barred) == 0 {
		return nil
	}
	lifted := map[subject.Key]bool{}
	for _, bar := range write.Bars {
		lifted[bar.Key] = bar.Next == nil
	}
	keys := slices.Clone(write.Unbarred)
	for _, one := range write.Subjects {
		if one.Next.State == attestd.StateTrusted {
			keys = append(keys, one.Next.Keys()...)
		}
	}
	for _, key := range keys {
		if !w.barred[key] || lifted[key] {
			continue
		}
		bar, found, err := w.bar(ctx, key)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("a hold on a key of kind %s is in memory and not in the database", key.Kind)
		}
		return refusal{&subject.BarredError{Bar: bar}}
	}
	return nil
}

func (w *writer) demandSubject(ctx context.Context, one subject.SubjectWrite) error {
	var generation uint64
	var state attestd.State
	err := w.lookSubject.QueryRowContext(ctx, one.Next.ID.Fold()).Scan(&generation, &state)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if generation != one.Expect {
		return refusal{&subject.MovedError{What: "the subject"}}
	}
	// A second line behind whoever decided: what is not in the table of transitions is not written.
	if !leads(state, one.Next.State) {
		return refusal{&attestd.CallerError{
			Class: attestd.ClassConflict, Hint: "see the table of transitions in the documentation of states",
			Err: fmt.Errorf("nothing leads from %s to %s", state, one.Next.State),
		}}
	}
	return nil
}

// leads reports whether some move leads from one state to another, or none is made.
func leads(from, to attestd.State) bool {
	return from == to || slices.ContainsFunc(transitions, func(row subject.Transition) bool {
		return row.From == from && row.To == to
	})
}

var transitions = subject.Transitions()

func (w *writer) demandBar(ctx context.Context, one subject.BarWrite) error {
	bar, _, err := w.bar(ctx, one.Key)
	if err != nil {
		return err
	}
	if bar.Generation != one.Expect {
		return refusal{&subject.MovedError{What: "the hold"}}
	}
	if bar.State == attestd.StateRevoked && (one.Next == nil || one.Next.State != attestd.StateRevoked) {
		return refusal{&subject.BarredError{Bar: bar}}
	}
	return nil
}

func (w *writer) demandOwner(ctx context.Context, key subject.Key, expect uint64) error {
	var generation uint64
	err := w.lookOwner.QueryRowContext(ctx, key.Kind, key.Value).Scan(&generation)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if generation != expect {
		return refusal{&subject.MovedError{What: "the ownership"}}
	}
	return nil
}

// apply carries out what demandStill let through.
func (w *writer) apply(ctx context.Context, write subject.Write) error {
	for _, one := range write.Subjects {
		if err := w.putSubject(ctx, one); err != nil {
			return err
		}
	}
	for _, one := range write.Bars {
		if err := w.putBar(ctx, one); err != nil {
			return err
		}
	}
	for _, one := range write.Owners {
		if err := w.putOwner(ctx, one); err != nil {
			return err
		}
	}
	if write.Token != nil {
		if err := w.useToken(ctx, *write.Token); err != nil {
			return err
		}
	}
	if write.NewToken != nil {
		if err := w.putToken(ctx, *write.NewToken); err != nil {
			return err
		}
	}
	for _, event := range write.History {
		if err := w.putEvent(ctx, event); err != nil {
			return err
		}
	}
	return w.record(ctx, write.Audit)
}

func (w *writer) putSubject(ctx context.Context, one subject.SubjectWrite) error {
	next := one.Next
	next.Generation = one.Expect + 1
	arguments, err := argumentsOf(next, w.clock.Now())
	if err != nil {
		return err
	}
	statement := w.updateSubject
	if one.Expect == 0 {
		statement = w.insertSubject
	}
	if err := demandOne(statement.ExecContext(ctx, arguments...)); err != nil {
		return err
	}
	w.made.subjects = append(w.made.subjects, next)
	return nil
}

// demandOne returns an error where a statement did not change exactly one row. demandStill looked
// before, so this is a write that contradicts itself: it takes its whole transaction down.
func demandOne(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	changed, err := result.RowsAffected()
	if err == nil && changed != 1 {
		err = fmt.Errorf("a write changed %d rows, want 1", changed)
	}
	return err
}
