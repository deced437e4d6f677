package revocation

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// How often and how much: a sweep after an outage must not keep evidence from being written.
const (
	sweepEvery = 5 * time.Second
	endEvery   = time.Hour
	batch      = 64
	pace       = 20 * time.Millisecond
)

// Run makes the store take over direct holds, moves subjects whose evidence is late, and ends
// signals that no longer count, until ctx ends. What fails is logged and tried again.
func (a *Authority) Run(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	var ended time.Time
	for {
		if err := a.drain(ctx); err != nil && ctx.Err() == nil {
			a.Logger.ErrorContext(ctx, "direct holds wait for the store", slog.Any("err", err))
		}
		if _, err := a.Sweep(ctx); err != nil && ctx.Err() == nil {
			a.Logger.ErrorContext(ctx, "overdue subjects could not be moved", slog.Any("err", err))
		}
		if _, err := a.Fade(ctx); err != nil && ctx.Err() == nil {
			a.Logger.ErrorContext(ctx, "signals could not fade", slog.Any("err", err))
		}
		if now := a.Now(); now.Sub(ended) >= endEvery {
			ended = now
			if _, err := a.EndSignals(ctx); err != nil && ctx.Err() == nil {
				a.Logger.ErrorContext(ctx, "signals could not be ended", slog.Any("err", err))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-a.kick:
		}
	}
}

// Sweep moves the subjects whose evidence is late or will be before the next sweep but one, in
// small writes with pauses between, and returns how many it moved.
func (a *Authority) Sweep(ctx context.Context) (moved int, err error) {
	const ahead = 2 * sweepEvery
	for ctx.Err() == nil {
		ids := a.Index.Overdue(a.Now().Add(ahead), batch)
		n, err := a.step(ctx, ids, func(s subject.Subject) (subject.Write, bool) {
			return subject.Late(s, a.Now(), ahead, a.Rules.Rules)
		})
		moved += n
		if err != nil || n == 0 || len(ids) < batch {
			return moved, err
		}
		rest(ctx)
	}
	return moved, ctx.Err()
}

// EndSignals ends signals that no longer count or count for less, of all subjects that have any.
func (a *Authority) EndSignals(ctx context.Context) (ended int, err error) {
	filter := subject.Filter{
		Tenants: []string{subject.Shared}, Limit: batch, Signalled: true,
		State: []attestd.State{attestd.StateUnknown, attestd.StateTrusted, attestd.StateSuspect},
	}
	for ctx.Err() == nil {
		page, next, err := a.Store.Subjects(ctx, filter)
		if err != nil {
			return ended, err
		}
		var ids []subject.ID
		for _, one := range page {
			if _, follows := subject.Ended(one, a.Now()); follows {
				ids = append(ids, one.ID)
			}
			a.Fades(one)
		}
		n, err := a.step(ctx, ids, a.ended)
		ended += n
		if err != nil || next == "" {
			return ended, err
		}
		filter.After = next
		rest(ctx)
	}
	return ended, ctx.Err()
}

// ended is what follows for one subject, whose next change is remembered.
func (a *Authority) ended(s subject.Subject) (subject.Write, bool) {
	write, follows := subject.Ended(s, a.Now())
	if follows {
		s = write.Subjects[0].Next
	}
	a.Fades(s)
	return write, follows
}

// Fade ends the signals of those subjects that [Authority.Fades] was told of and whose time has
// come.
func (a *Authority) Fade(ctx context.Context) (faded int, err error) {
	for ctx.Err() == nil {
		ids := a.fading.due(a.Now(), batch)
		n, err := a.step(ctx, ids, a.ended)
		faded += n
		if err != nil || len(ids) < batch {
			return faded, err
		}
		rest(ctx)
	}
	return faded, ctx.Err()
}

// step reads the subjects and carries out what follows, all in one write; where one of them changed
// meanwhile, one by one, and that one is left to the next sweep.
func (a *Authority) step(
	ctx context.Context, ids []subject.ID, follow func(subject.Subject) (subject.Write, bool),
) (int, error) {
	var all subject.Write
	var single []subject.Write
	for _, id := range ids {
		s, found, err := a.Store.Subject(ctx, id)
		if err != nil {
			return 0, err
		}
		write, follows := follow(s)
		if !found || !follows {
			continue
		}
		single = append(single, write)
		all.Subjects = append(all.Subjects, write.Subjects...)
		all.History = append(all.History, write.History...)
		all.Audit = append(all.Audit, write.Audit...)
	}
	if len(single) == 0 {
		return 0, nil
	}
	err := a.Store.Write(ctx, all)
	if err == nil {
		return len(single), nil
	}
	if !superseded(err) {
		return 0, err
	}
	done := 0
	for _, write := range single {
		switch err := a.Store.Write(ctx, write); {
		case err == nil:
			done++
		case !superseded(err):
			return done, err
		}
	}
	return done, nil
}

// superseded reports whether something else happened to the subject first.
func superseded(err error) bool {
	var moved *subject.MovedError
	var barred *subject.BarredError
	return errors.As(err, &moved) || errors.As(err, &barred)
}

func rest(ctx context.Context) {
	timer := time.NewTimer(pace)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
