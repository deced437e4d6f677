package daemon

import (
	"context"
	"sync"
)

// background is work that runs beside the requests. What it is made of is still there when it ends:
// stop is called before anything is closed.
type background struct {
	running sync.WaitGroup
	cancel  context.CancelFunc
}

// start runs each of work until stop. A signal to the daemon does not end it: requests that are still
// being answered rely on it.
func (b *background) start(ctx context.Context, work ...func(context.Context)) {
	ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for _, run := range work {
		b.running.Go(func() { run(ctx) })
	}
}

// stop ends the work and waits for it.
func (b *background) stop() {
	if b.cancel != nil {
		b.cancel()
		b.running.Wait()
	}
}
