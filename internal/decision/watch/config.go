package watch

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Sink takes sightings up as signals against their subjects. It may wait.
type Sink interface {
	Native(ctx context.Context, sighting subject.Sighting) error
}

// Bounds say when detectors fire. All are required; [StandardBounds] has those that were measured.
type Bounds struct {
	// PivotTenants is how many other tenants within PivotWindow are a pivot.
	PivotTenants int
	PivotWindow  time.Duration
	// BurstDenials is how many denials within BurstWindow are a burst.
	BurstDenials int
	BurstWindow  time.Duration
	// NovelIDs is how many new ids within NovelWindow are a novel scope, of a caller that was
	// allowed Learn questions or more. An id is remembered for Memory at least and twice that at
	// most.
	NovelIDs    int
	NovelWindow time.Duration
	Learn       int
	Memory      time.Duration
	// PlacesWindow is within what time one credential must not be shown from two places.
	PlacesWindow time.Duration
	// Cooldown is how long a detector is silent about a caller that it fired for.
	Cooldown time.Duration
	// Calm is for how long a caller may ask nothing after its risk was high last, unless it is low
	// before.
	Calm time.Duration
	// Pause is RetryAfter for whoever may not ask at all.
	Pause time.Duration
}

// StandardBounds returns the bounds that are in force where nobody chose others.
func StandardBounds() Bounds {
	return Bounds{
		PivotTenants: 2, PivotWindow: 10 * time.Minute,
		BurstDenials: 20, BurstWindow: time.Minute,
		NovelIDs: 8, NovelWindow: 10 * time.Minute, Learn: 50, Memory: 7 * 24 * time.Hour,
		PlacesWindow: time.Minute,
		Cooldown:     5 * time.Minute,
		Calm:         time.Hour,
		Pause:        30 * time.Second,
	}
}

// Config says what a watch works with. Every field is required, Shared apart.
type Config struct {
	// Rate is how many questions a second a caller at low risk may ask; a tenth at medium, none
	// above.
	Rate int
	// Burst is how many it may ask at once.
	Burst int
	// Subjects is how many callers are remembered at most, some 200 bytes each.
	Subjects int
	// Shared are ranges of addresses that stand for one place, as those of a NAT.
	Shared []netip.Prefix
	Bounds Bounds
	Sink   Sink
	Logger *slog.Logger
}

// Limits of a configuration.
const (
	maxRate     = 1_000_000
	maxSubjects = 1 << 24
)

func (c Config) check() error {
	b := c.Bounds
	switch {
	case c.Sink == nil || c.Logger == nil:
		return wrong("a watch needs a sink and a logger")
	case c.Rate < 1 || c.Rate > maxRate || c.Burst < 1 || c.Burst > maxRate:
		return wrong("rate and burst are 1 to %d, got %d and %d", maxRate, c.Rate, c.Burst)
	case c.Subjects < shards || c.Subjects > maxSubjects:
		return wrong("subjects are %d to %d, got %d", shards, maxSubjects, c.Subjects)
	case b.PivotTenants < 2 || b.PivotTenants > pivots:
		return wrong("a pivot is 2 to %d tenants, got %d", pivots, b.PivotTenants)
	case b.BurstDenials < 1 || b.NovelIDs < 1 || b.NovelIDs > maxNovel || b.Learn < 1 ||
		b.BurstDenials > maxCount || b.Learn > maxCount:
		return wrong("counts are above zero and within bounds, got %+v", b)
	}
	for _, d := range []time.Duration{
		b.PivotWindow, b.BurstWindow, b.NovelWindow, b.Memory, b.PlacesWindow, b.Cooldown, b.Calm, b.Pause,
	} {
		if d < time.Second {
			return wrong("times are at least a second, got %s", d)
		}
	}
	for _, prefix := range c.Shared {
		if !prefix.IsValid() {
			return wrong("a shared range that is none")
		}
	}
	return nil
}

func wrong(format string, args ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig, Hint: "every field of the configuration is required",
		Err: fmt.Errorf(format, args...),
	}
}
