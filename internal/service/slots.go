package service

import (
	"context"
	"errors"
	"fmt"
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
