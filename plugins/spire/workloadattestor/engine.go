package workloadattestor

import (
	"context"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/attestd/attestd/plugins/spire/host"
	"github.com/attestd/attestd/plugins/spire/keysocket"
	"github.com/attestd/attestd/plugins/spire/keysocket/local"
	"github.com/attestd/attestd/plugins/spire/workloadattestor/ask"
)

// engine is what goes on while the configuration changes, for one folder: the stream of snapshots, and
// who is answered about it. A change of a limit must not cost the workloads their selectors.
type engine struct {
	node    *node
	watcher *watcher

	folder   *local.Folder
	client   *keysocket.Client
	listener *local.Listener
	cancel   context.CancelFunc
	work     sync.WaitGroup
	users    int
}

// place is what an engine is begun for.
type place struct {
	folder, domain string
	env            host.Env
	clock          clock
	answer         func(context.Context, *engine, ask.Question) ask.Answer
}

// engines are those in use, by their folder. The trust domain of an agent never changes.
type engines struct {
	mu     sync.Mutex
	byPath map[string]*engine
}

// use returns the engine of a folder, begun where it is not there yet, and what ends the use.
func (e *engines) use(ctx context.Context, at place) (*engine, func(), error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.byPath == nil {
		e.byPath = make(map[string]*engine)
	}
	one, running := e.byPath[at.folder]
	if !running {
		var err error
		if one, err = beginEngine(ctx, at); err != nil {
			return nil, nil, err
		}
		e.byPath[at.folder] = one
	}
	one.users++
	return one, func() {
		e.mu.Lock()
		one.users--
		last := one.users == 0
		if last {
			delete(e.byPath, at.folder)
			// Under the lock: whoever begins the same folder again finds its socket free.
			one.end()
		}
		e.mu.Unlock()
	}, nil
}

func beginEngine(ctx context.Context, at place) (*engine, error) {
	folder, err := local.Make(at.folder)
	if err != nil {
		return nil, err
	}
	client, err := keysocket.Dial(at.folder)
	if err != nil {
		_ = folder.Close()
		return nil, err
	}
	listener, err := folder.Listen(ctx, ask.SocketName, true, func(peer local.Peer) {
		at.env.Logger.Warn("turned away a question about workloads", "uid", peer.UID, "pid", peer.PID)
	})
	if err != nil {
		_ = client.Close()
		_ = folder.Close()
		return nil, err
	}
	one := &engine{
		node:   &node{clock: at.clock, changed: tell(at.env.Logger)},
		folder: folder, client: client, listener: listener,
	}
	one.watcher = &watcher{
		node: one.node, keys: client, version: at.env.Version, logger: host.Slog(at.env.Logger),
		domain: at.domain,
	}
	// Not the context of the call that configured: this goes on behind it.
	running, cancel := context.WithCancel(context.Background())
	one.cancel = cancel
	one.work.Go(func() { one.watcher.run(running) })
	one.work.Go(func() {
		serveQuestions(running, listener, func(ctx context.Context, question ask.Question) ask.Answer {
			return at.answer(ctx, one, question)
		})
	})
	return one, nil
}

// end closes the socket at once. The rest waits for answers that are being given, of which one may be
// what this is called from.
func (e *engine) end() {
	e.cancel()
	_ = e.listener.Close()
	go func() {
		e.work.Wait()
		_ = e.client.Close()
		_ = e.folder.Close()
	}()
}

// tell logs when what holds for the node changes.
func tell(logger hclog.Logger) func(before, after *admission) {
	return func(_, after *admission) {
		snapshot := after.snapshot
		if after.problem != "" {
			logger.Warn("this node's workloads get no selectors of attestd's", "reason", after.problem,
				"state", snapshot.State.String(), "tier", snapshot.Tier.String(),
				"risk_score", snapshot.Risk.Int())
			return
		}
		logger.Info("this node's workloads get selectors of attestd's", "state", snapshot.State.String(),
			"tier", snapshot.Tier.String(), "tenant", snapshot.Tenant, "risk_score", snapshot.Risk.Int())
	}
}
