package front

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/attestd/attestd/internal/spire/link"
)

// Bounds of what peers may take. A node sends little: a greeting in documents of a few hundred bytes.
const (
	nodeFrame     = 16 << 10
	nodeLinks     = 4
	mostNodes     = 50_000
	mostOnSocket  = 256
	issuerCalls   = 1024
	callTimeout   = 30 * time.Second
	recheck       = time.Second
	ordersTimeout = 5 * time.Second
)

// Front answers plugins, nodes and the controller. Make it with [New], then call [Front.Run].
type Front struct {
	config Config
	own    uint32
	bound  Bound

	unix, tcp, gate net.Listener

	watchers watchers
	maps     mapParts
	state    stateFile
	seen     seen
}

// New checks the configuration and opens the listeners. Whoever calls it calls [Front.Run] or
// [Front.Close].
//
// Errors: a [*attestd.CallerError] of class CONFIG; or what the system says of the listeners.
func New(config Config) (*Front, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	config.Users = slices.Clone(config.Users)
	f := &Front{
		config: config, own: uint32(os.Geteuid()), //nolint:gosec // a uid
		state: stateFile{path: config.StatePath},
	}
	if err := f.listen(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Bound returns where the front answers.
func (f *Front) Bound() Bound { return f.bound }

// Close closes the listeners of a front that does not run.
func (f *Front) Close() error {
	var errs []error
	for _, one := range []net.Listener{f.unix, f.tcp, f.gate} {
		if one != nil {
			if err := one.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Run answers until ctx ends, and returns when everything that it began has ended.
//
// Errors: of a listener that failed.
func (f *Front) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, 3)
	var work sync.WaitGroup
	serve := func(run func() error) {
		work.Go(func() {
			errs <- run()
			cancel() // one that fails takes the others along: nobody shall think that it is there
		})
	}
	work.Go(func() { f.tellOrders(ctx) })
	running := 0
	if f.unix != nil {
		running++
		serve(func() error { return link.Serve(ctx, f.unix, f.acceptUnix, f.limits(mostOnSocket, mostOnSocket)) })
	}
	if f.tcp != nil {
		running++
		serve(func() error { return link.Serve(ctx, f.tcp, f.acceptTLS(ctx), f.limits(mostNodes, nodeLinks)) })
	}
	if f.gate != nil {
		running++
		serve(func() error { return f.serveGate(ctx) })
	}
	if running == 0 {
		<-ctx.Done()
	}
	work.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

func (f *Front) limits(connections, perPeer int) link.Limits {
	return link.Limits{
		Connections: connections, PerPeer: perPeer,
		Options: link.Options{Calls: issuerCalls, CallTimeout: callTimeout, Logger: f.config.Logger},
	}
}

// tellOrders hands the controller each change of the orders as it comes.
func (f *Front) tellOrders(ctx context.Context) {
	var told uint64
	var toldTo *link.Conn
	for ctx.Err() == nil {
		orders, changed := f.config.Office.Orders()
		conn, other := f.config.Controller.current()
		var again <-chan time.Time
		// A controller that has come asks for the orders itself, but they may have changed since.
		if conn != nil && (conn != toldTo || orders.Number != told) {
			reached, err := f.config.Controller.enforce(ctx, conn, orders)
			if err == nil {
				told, toldTo = orders.Number, conn
				f.config.Reached(reached)
			} else {
				f.config.Logger.WarnContext(ctx, "the controller has not taken orders", "number", orders.Number,
					"err", excerpt(err))
				again = time.After(time.Second)
			}
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-other:
		case <-again:
		}
	}
}
