package revocation_test

import (
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/revocation"
	"github.com/attestd/attestd/internal/subject"
)

// settling calls meanwhile where the index is about to end holds that the store has taken over.
type settling struct {
	*live.Index
	meanwhile func()
}

func (s *settling) Settle(held []subject.Key) {
	if s.meanwhile != nil {
		s.meanwhile()
	}
	s.Index.Settle(held)
}

// A direct order that lands while an earlier one of the same key is being settled is in force from its
// acknowledgement on. neg: 180
func TestADirectOrderIsNotSettledWithAnEarlierOne(t *testing.T) {
	w := newWorld(t, nil).fleet()
	index := &settling{Index: w.index}
	config := w.config()
	config.Index = index
	if err := w.authority.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.authority, err = revocation.New(config); err != nil {
		t.Fatal(err)
	}
	wanted := order(string(idOf("alpha1")))
	wanted.Direct = true
	revoked := make(chan error, 1)
	index.meanwhile = func() {
		go func() {
			_, err := w.authority.Revoke(t.Context(), anna, wanted)
			revoked <- err
		}()
		time.Sleep(50 * time.Millisecond) // it lands here, or waits
	}
	w.hold(string(idOf("alpha1")))
	w.store.writes.Store(false)
	if err := w.authority.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-revoked; err != nil {
		t.Fatal(err)
	}
	if state, _ := w.index.Held(idOf("alpha1").Key()); state != attestd.StateRevoked {
		t.Errorf("it was acknowledged as revoked, and is held as %s", state)
	}
}
