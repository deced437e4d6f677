package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
)

// controller is what the loops share.
type controller struct {
	config Config
	log    *slog.Logger
	spire  *server
	link   *link.Client

	orders  *orders
	record  *record
	fleet   *fleet
	again   *reattestation
	canary  *canaries
	pollNow chan struct{} // one waiting call for a poll before its time

	readBacks []time.Duration
	// end ends all of it, with a cause.
	end context.CancelCauseFunc
}

// errReplaced is the end of a controller that attestd orders nothing of any more. One that went on by
// its last orders would lay again what the other one lifts.
var errReplaced = &attestd.CallerError{
	Class: attestd.ClassConflict, Hint: "run one controller: attestd serve starts its own",
	Err: errors.New("another controller has taken over"),
}

// Run carries out what attestd orders until ctx ends, which is no error. It returns an error where
// the configuration will not do, the Workload API gave it no SVID, or another controller has taken
// over; that SPIRE or attestd is out of reach is no reason to end.
func Run(ctx context.Context, config Config) error { return runWith(ctx, config, readBacks()) }

func runWith(ctx context.Context, config Config, looks []time.Duration) error {
	domain, err := config.check()
	if err != nil {
		return err
	}
	spire, err := dialServer(ctx, config, domain)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	c := newController(config, spire)
	c.readBacks = looks
	ctx, c.end = context.WithCancelCause(ctx)
	defer c.end(nil)
	c.run(ctx)
	if err := spire.close(); err != nil {
		return err
	}
	if errors.Is(context.Cause(ctx), errReplaced) {
		return errReplaced
	}
	return nil
}

func newController(config Config, spire *server) *controller {
	c := &controller{config: config, log: config.Logger, spire: spire, pollNow: make(chan struct{}, 1)}
	c.record = newRecord(c)
	c.fleet = &fleet{}
	c.orders = newOrders(c)
	c.canary = newCanaries(c)
	c.again = newReattestation(c)
	return c
}

// run works until ctx ends, and returns when everything it started has ended.
func (c *controller) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.orders.ctx = ctx
	c.link = link.NewClient(link.ClientConfig{
		Addresses: c.config.Attestd, Handler: c.answer, OnConnect: c.connected, Logger: c.log,
		Repeat: []string{wire.MethodMap, wire.MethodReached, wire.MethodCanary, wire.MethodKeepState},
	})
	var loops sync.WaitGroup
	for _, loop := range []func(context.Context){
		c.poll, c.record.keep, c.orders.tell, c.again.drain, c.canary.run,
	} {
		loops.Go(func() { loop(ctx) })
	}
	<-ctx.Done()
	c.link.Close()
	loops.Wait()
	c.orders.wait()
}

// connected begins each link to attestd: what is its own in SPIRE comes before what it orders, so
// that nothing is lifted that a person laid.
func (c *controller) connected(ctx context.Context, conn *link.Conn) error {
	var state wire.ControllerState
	if err := conn.Call(ctx, wire.MethodTakeState, wire.Empty{}, &state); err != nil {
		return fmt.Errorf("attestd's record of what is its own: %w", err)
	}
	if err := c.record.take(state); err != nil {
		return err
	}
	c.orders.newLink()
	var now wire.Orders
	if err := conn.Call(ctx, wire.MethodOrders, wire.Empty{}, &now); err != nil {
		return fmt.Errorf("attestd's orders: %w", err)
	}
	c.orders.set(now)
	c.wake()
	c.log.InfoContext(ctx, "linked to attestd", "orders", now.Number,
		"bans", len(now.Bans), "holds", len(now.Holds))
	return nil
}

// wake asks for a poll at once.
func (c *controller) wake() {
	select {
	case c.pollNow <- struct{}{}:
	default:
	}
}

// answer is what attestd may ask of the controller.
func (c *controller) answer(ctx context.Context, _ link.Peer, method string, body json.RawMessage) (
	any, error,
) {
	switch method {
	case wire.MethodEnforce:
		return answerTo(ctx, body, c.enforce)
	case wire.MethodRefresh:
		return answerTo(ctx, body, c.refresh)
	case wire.MethodReattest:
		return answerTo(ctx, body, c.again.ask)
	case wire.MethodMintX509:
		return answerTo(ctx, body, c.mintX509)
	case wire.MethodMintJWT:
		return answerTo(ctx, body, c.mintJWT)
	}
	return nil, &attestd.CallerError{Class: attestd.ClassForbidden, Hint: "ask the daemon",
		Err: fmt.Errorf("the controller does not answer %q", attestd.Excerpt(method, 40))}
}

// answerTo reads a call's body and answers it.
func answerTo[In, Out any](ctx context.Context, body json.RawMessage, answer func(context.Context, In) (Out, error)) (
	any, error,
) {
	var in In
	if err := link.Decode(body, &in); err != nil {
		return nil, err
	}
	out, err := answer(ctx, in)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// enforceWait bounds how long an answer waits for SPIRE; what takes longer is reported later.
const enforceWait = 2 * time.Second

// enforce takes new orders and answers when each change was tried once.
func (c *controller) enforce(ctx context.Context, in wire.Orders) (wire.Reached, error) {
	changed, taken := c.orders.set(in)
	if !taken {
		return wire.Reached{}, &attestd.CallerError{Class: attestd.ClassConflict, Hint: "send the newest orders",
			Err: fmt.Errorf("orders %d came after newer ones", in.Number)}
	}
	ctx, cancel := context.WithTimeout(ctx, enforceWait)
	defer cancel()
	return c.orders.reached(ctx, in.Number, changed), nil
}

// pause waits, and reports whether ctx still lasts.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// call bounds one call of SPIRE.
func call(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return ask(ctx)
}

// notLinked reports whether an error is only that attestd is away, which the link says already.
func notLinked(err error) bool { return errors.Is(err, link.ErrUnreached) }
