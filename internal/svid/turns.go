package svid

import (
	"context"
	"sync"
)

// turns lets one request of a SPIFFE ID be with SPIRE at a time.
type turns struct {
	mu   sync.Mutex
	held map[string]*turn
}

type turn struct {
	place chan struct{} // has room for whoever's turn it is
	users int
}

// take waits for the turn and returns a function that gives it back.
//
// Errors: that of ctx.
func (t *turns) take(ctx context.Context, id string) (release func(), err error) {
	t.mu.Lock()
	if t.held == nil {
		t.held = map[string]*turn{}
	}
	mine := t.held[id]
	if mine == nil {
		mine = &turn{place: make(chan struct{}, 1)}
		t.held[id] = mine
	}
	mine.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.users--; mine.users == 0 {
			delete(t.held, id)
		}
	}
	select {
	case mine.place <- struct{}{}:
		return func() {
			<-mine.place
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
