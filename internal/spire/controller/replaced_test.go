package controller_test

import (
	"errors"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/controller"
	"github.com/attestd/attestd/internal/spire/wire"
)

// TestAControllerThatWasReplacedEnds: nobody orders anything of it any more, so it would lay again what
// the other one lifts.
func TestAControllerThatWasReplacedEnds(t *testing.T) {
	w := newWorld(t)
	id, _ := w.join("one")
	ended := make(chan error, 1)
	linked := w.linked
	go func() { ended <- controller.RunWith(t.Context(), w.config, controller.ReadBacks()...) }()
	<-linked
	w.order(func(o *wire.Orders) { o.Bans = append(o.Bans, id) })
	w.mu.Lock()
	w.replaced = true
	w.mu.Unlock()
	select {
	case err := <-ended:
		var caller *attestd.CallerError
		if !errors.As(err, &caller) || caller.Class != attestd.ClassConflict {
			t.Errorf("got %v, want an error of class CONFLICT", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it goes on with orders that may be old")
	}
}
