package keymanager

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/attestd/attestd/plugins/spire/keysocket"
)

// longestWait is how long a signature may wait for its turn. The agent itself gives up after 30 s.
const longestWait = 3 * time.Second

// pace lets so many signatures through in a second, twice as many at once after a pause, and has
// the others wait. Who would wait too long is refused at once.
type pace struct {
	mutex  sync.Mutex
	rate   float64
	tokens float64 // below zero: so many wait
	last   time.Time
}

func (p *pace) set(rate int) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.last.IsZero() {
		p.tokens, p.last = float64(2*rate), time.Now()
	}
	p.rate = float64(rate)
}

// take waits for a turn and reports whether it had to.
//
// Errors: [keysocket.ErrBusy]; the context's.
func (p *pace) take(ctx context.Context) (waited bool, err error) {
	wait, err := p.reserve()
	if err != nil || wait <= 0 {
		return false, err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true, nil
	case <-ctx.Done():
		p.mutex.Lock()
		p.tokens++ // the place is the next one's that comes; those behind keep their time
		p.mutex.Unlock()
		return true, ctx.Err()
	}
}

func (p *pace) reserve() (time.Duration, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	now := time.Now()
	p.tokens = min(2*p.rate, p.tokens+now.Sub(p.last).Seconds()*p.rate)
	p.last = now
	wait := time.Duration((1 - p.tokens) / p.rate * float64(time.Second))
	if wait > longestWait {
		return 0, fmt.Errorf("%w: over %g signatures a second (signatures_per_second)",
			keysocket.ErrBusy, p.rate)
	}
	p.tokens--
	return wait, nil
}
