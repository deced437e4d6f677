package composer

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
)

// TestWhatCannotBeAskedIsNotGone on with: an audience that no frame has room for never gets to
// attestd, which is there all the same and would refuse it.
func TestWhatCannotBeAskedIsNotGoneOnWith(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	t.Cleanup(func() { _ = far.Close() })
	conn := link.NewConn(near, link.Peer{}, nil, link.Options{})
	t.Cleanup(func() { _ = conn.Close(); conn.Wait() })
	o := newOutage(t)
	o.must(o.take(o.handout(nil)))
	ask := jwtOf(id)
	ask.Audience = []string{strings.Repeat("<", link.MaxFrame/6)} // six bytes each, as JSON
	call := func(ctx context.Context, method string, in, out any) error {
		o.wait(1)
		return conn.Call(ctx, method, in, out)
	}
	got, err := attestdGranter{call, o.kept}.grant(t.Context(), ask)
	var said *link.Error
	if !errors.As(err, &said) || said.Class != attestd.ClassTooLarge || got.Claims != nil {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestARefusalBeforeTheFirstHandoutCounts: what was handed out can have been made before it.
func TestARefusalBeforeTheFirstHandoutCounts(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	made := o.handout(nil)
	o.err = &link.Error{Class: attestd.ClassQuarantined}
	if _, err := o.grant(jwtOf(id)); !errors.Is(err, o.err) {
		t.Fatal(err)
	}
	o.must(o.take(made))
	o.err = nil
	o.wait(1)
	o.refuses(jwtOf(id))
}

// TestNumbersBeginAgainWhenTheOldOneIsOver: attestd counts by its clock, which can be set back.
func TestNumbersBeginAgainWhenTheOldOneIsOver(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	o.must(o.take(o.handout(nil)))
	lower := func(h *wire.Holdover) { h.Number = 3 }
	if err := o.take(o.handout(lower)); err == nil {
		t.Fatal("an older one is taken while there is a newer")
	}
	o.wait(mostHoldover)
	o.must(o.take(o.handout(lower)))
}
