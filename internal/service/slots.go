package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
)

// slots bounds the judgements that run and the callers that wait for one. A caller that finds both
// full is sent away at once: an answer in a second is worth more than a queue that everybody leaves.
type slots struct {
	places  chan struct{}
	waiting *atomic.Int64
	most    int64
}

func newSlots(concurrency, waiting int) slots {
	return slots{
		places: make(chan struct{}, concurrency), waiting: new(atomic.Int64), most: int64(waiting),
	}
}

// take returns a function that gives the place back. It waits for one at most the time given: a
// caller that got its place when its connection was about to be cut would lose a challenge for an
// answer that it cannot be given.
func (s slots) take(ctx context.Context, most time.Duration) (release func(), err error) {
	release = func() { <-s.places }
	select {
	case s.places <- struct{}{}:
		return release, nil
	default:
	}
	if s.waiting.Add(1) > s.most {
		s.waiting.Add(-1)
		return nil, busy(errors.New("too many requests wait already"))
	}
	defer s.waiting.Add(-1)
	patience := time.NewTimer(most)
	defer patience.Stop()
	select {
	case s.places <- struct{}{}:
		return release, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-patience.C:
		return nil, busy(fmt.Errorf("no verification ended within %s", most))
	}
}

func busy(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassRateLimited,
		Hint:  "try again in a second",
		Err:   fmt.Errorf("the verifier is busy: %w", err),
	}
}

// turns lets what is about one machine happen one after the other: decisions about it that are taken
// at a time all but one find that it changed meanwhile. It is for speed alone; what must not be missed
// is compared in the store.
type turns struct {
	mu   sync.Mutex
	held map[string]*turn
}

type turn struct {
	free  chan struct{} // holds one value while nobody has the turn
	users int
}

// take waits for the turn of a machine and returns a function that gives it back.
func (t *turns) take(ctx context.Context, machine string) (release func(), err error) {
	t.mu.Lock()
	if t.held == nil {
		t.held = make(map[string]*turn)
	}
	mine := t.held[machine]
	if mine == nil {
		mine = &turn{free: make(chan struct{}, 1)}
		mine.free <- struct{}{}
		t.held[machine] = mine
	}
	mine.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.users--; mine.users == 0 {
			delete(t.held, machine)
		}
	}
	select {
	case <-mine.free:
		return func() {
			mine.free <- struct{}{}
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
