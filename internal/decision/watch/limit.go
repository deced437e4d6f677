package watch

import (
	"time"

	"github.com/attestd/attestd"
)

// slower is how much less often a caller at medium risk may ask.
const slower = 10

// limiter has the limits of the tiers.
type limiter struct {
	// every is the time between two questions at low risk, and tolerance how far ahead of it a
	// burst may be.
	every, tolerance time.Duration
	pause            time.Duration
}

func newLimiter(rate, burst int, pause time.Duration) limiter {
	every := time.Second / time.Duration(rate)
	return limiter{every, every * time.Duration(burst), pause}
}

// spent is the most that any limit can be ahead.
func (l limiter) spent() time.Duration { return max(l.tolerance, slower*l.every) }

// interval returns the time between two questions; false for whom may ask none.
func (l limiter) interval(tier attestd.Tier) (time.Duration, bool) {
	switch tier {
	case attestd.TierLow:
		return l.every, true
	case attestd.TierMedium:
		return slower * l.every, true
	default:
		return 0, false
	}
}

// take counts one question, or returns how long to wait. What is refused is not counted. The burst
// is as long at every tier, so that at medium it has a tenth of the questions. A clock that was put
// back leaves nobody waiting for longer than a burst.
func (l limiter) take(e *entry, now time.Time, tier attestd.Tier) (wait time.Duration, ok bool) {
	interval, may := l.interval(tier)
	if !may {
		return l.pause, false
	}
	tolerance := max(l.tolerance, interval)
	nanos := now.UnixNano()
	e.tat = min(e.tat, nanos+int64(l.spent()))
	tat := max(e.tat, nanos)
	ahead := time.Duration(tat - nanos)
	if wait = ahead + interval - tolerance; wait > 0 {
		return wait, false
	}
	e.tat = tat + int64(interval)
	return 0, true
}
