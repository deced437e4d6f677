package front

import (
	"context"
	"errors"
	"sync"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
)

// Controller is attestd's way to SPIRE: the one link that is the controller now. Where there is none
// every question is undecided. Make it with [NewController].
type Controller struct {
	mu      sync.Mutex
	conn    *link.Conn
	changed chan struct{}
}

// NewController returns a controller that is not there yet. It comes with the [Front] that has it.
func NewController() *Controller { return &Controller{changed: make(chan struct{})} }

// take makes a link the controller; true where it is in place of one that still is there.
func (c *Controller) take(conn *link.Conn) (replaced bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	replaced = c.conn != nil && c.conn != conn && c.conn.Err() == nil
	c.conn = conn
	close(c.changed)
	c.changed = make(chan struct{})
	return replaced
}

// current returns the link, nil for none, and what is closed when there is another.
func (c *Controller) current() (*link.Conn, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && c.conn.Err() != nil {
		c.conn = nil
	}
	return c.conn, c.changed
}

// Connected reports whether there is a controller.
func (c *Controller) Connected() bool {
	conn, _ := c.current()
	return conn != nil
}

// Refresh asks for the entries of SPIFFE IDs.
//
// Errors, as of all questions here: an [*attestd.UndecidedError] where the controller or SPIRE cannot
// be asked, a [*attestd.CallerError] where the answer is a refusal.
func (c *Controller) Refresh(ctx context.Context, ids []string) (wire.Map, error) {
	return ask[wire.Map](ctx, c, wire.MethodRefresh, wire.RefreshRequest{IDs: ids})
}

// Reattest asks that agents attest again.
func (c *Controller) Reattest(ctx context.Context, ids []string) (wire.Reattested, error) {
	return ask[wire.Reattested](ctx, c, wire.MethodReattest, wire.ReattestRequest{IDs: ids})
}

// MintX509 asks SPIRE for an X509-SVID over the key of a CSR.
func (c *Controller) MintX509(ctx context.Context, what wire.MintX509) (wire.MintedX509, error) {
	return ask[wire.MintedX509](ctx, c, wire.MethodMintX509, what)
}

// MintJWT asks SPIRE for a JWT-SVID.
func (c *Controller) MintJWT(ctx context.Context, what wire.MintJWT) (wire.MintedJWT, error) {
	return ask[wire.MintedJWT](ctx, c, wire.MethodMintJWT, what)
}

// Enforce has orders carried out at once. The front does so by itself when they change.
func (c *Controller) Enforce(ctx context.Context, orders wire.Orders) (wire.Reached, error) {
	return ask[wire.Reached](ctx, c, wire.MethodEnforce, orders)
}

// enforce is Enforce over the one link, within its time.
func (c *Controller) enforce(ctx context.Context, conn *link.Conn, orders wire.Orders) (wire.Reached, error) {
	ctx, cancel := context.WithTimeout(ctx, ordersTimeout)
	defer cancel()
	return over[wire.Reached](ctx, conn, wire.MethodEnforce, orders)
}

func ask[Out any](ctx context.Context, c *Controller, method string, in any) (out Out, err error) {
	conn, _ := c.current()
	if conn == nil {
		return out, &attestd.UndecidedError{
			Check: "spire.controller", Class: attestd.ClassStoreUnavailable, Got: "no controller",
			Want: "one that is linked", Hint: "start attestd spire controller, and look at its log",
		}
	}
	return over[Out](ctx, conn, method, in)
}

func over[Out any](ctx context.Context, conn *link.Conn, method string, in any) (out Out, err error) {
	err = conn.Call(ctx, method, in, &out)
	if err == nil {
		return out, nil
	}
	var zero Out
	var said *link.Error
	if !errors.As(err, &said) || said.Class.Undecided() || said.Class == attestd.ClassInternal {
		// A fault of the controller is no answer about an identity.
		class := attestd.ClassStoreUnavailable
		hint := "look at the controller's log"
		if said != nil && said.Class.Undecided() {
			class, hint = said.Class, said.Hint
		}
		return zero, &attestd.UndecidedError{
			Check: "spire.controller", Class: class, Got: "no answer to " + method, Want: "one", Hint: hint, Err: err,
		}
	}
	return zero, &attestd.CallerError{Class: said.Class, Hint: said.Hint, Err: said}
}
