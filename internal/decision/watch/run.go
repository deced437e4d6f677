package watch

import (
	"context"
	"log/slog"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/subject"
)

// How often a sighting that the sink did not take is tried again.
const (
	attempts   = 5
	firstPause = 200 * time.Millisecond
)

// Run takes sightings to the sink until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case one := <-w.queue:
			w.hand(ctx, one)
		}
	}
}

func (w *Watch) hand(ctx context.Context, one subject.Sighting) {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := w.config.Sink.Native(ctx, one)
		if err == nil || ctx.Err() != nil {
			return
		}
		if attempt == attempts {
			w.counts.failed.Add(1)
			w.config.Logger.ErrorContext(ctx, "what a detector saw could not be written",
				slog.String("code", string(one.Code)), slog.String("subject", string(one.ID)),
				slog.String("err", attestd.Excerpt(err.Error(), 200)))
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		pause *= 2
	}
}

// Counts are figures since the start.
type Counts struct {
	// Subjects are remembered now.
	Subjects int
	// Throttled questions; Dropped and Failed are sightings that the queue and the sink did not
	// take.
	Throttled, Dropped, Failed uint64
	// Fired says how often each detector was heard.
	Fired map[decision.Code]uint64
}

// Counts returns the figures.
func (w *Watch) Counts() Counts {
	out := Counts{
		Throttled: w.counts.throttled.Load(), Dropped: w.counts.dropped.Load(),
		Failed: w.counts.failed.Load(), Fired: map[decision.Code]uint64{},
	}
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		out.Subjects += s.len
		s.mu.Unlock()
	}
	for which, code := range codes {
		out.Fired[code] = w.counts.fired[which].Load()
	}
	return out
}
