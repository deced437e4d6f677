package watch

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/subject"
)

// SpikesConfig says what follows from risk that is high or critical. Every field is required.
type SpikesConfig struct {
	// Quarantine lays a hold as far as rules and caps allow, and says what came of it.
	Quarantine func(ctx context.Context, grounds subject.Grounds) (subject.Outcome, error)
	// Page tells people of it; it must not wait.
	Page   func(grounds subject.Grounds, outcome subject.Outcome)
	Now    func() time.Time
	Logger *slog.Logger
}

// Spikes carries risk spikes to a quarantine, beside the questions that showed them: those are
// denied whatever comes of it. It is safe for concurrent use.
type Spikes struct {
	config  SpikesConfig
	queue   chan subject.Grounds
	dropped atomic.Uint64

	mu    sync.Mutex
	tried map[string]time.Time
}

// Bounds of spikes. One caller's are tried again after spikeAgain: a quarantine that failed needs
// that, and one that was capped is said once an hour whatever is tried.
const (
	spikeWaiting = 256
	spikeAgain   = 5 * time.Second
	maxTried     = 1 << 14
)

// NewSpikes returns one. Its [Spikes.Run] does the work.
//
// Errors: a [*attestd.CallerError] of class CONFIG.
func NewSpikes(config SpikesConfig) (*Spikes, error) {
	if config.Quarantine == nil || config.Page == nil || config.Now == nil || config.Logger == nil {
		return nil, wrong("spikes need a quarantine, a pager, a clock and a logger")
	}
	return &Spikes{
		config: config, queue: make(chan subject.Grounds, spikeWaiting), tried: map[string]time.Time{},
	}, nil
}

// Spike takes up a question whose caller was denied for its risk. It does not wait, and may be told
// of the same caller any number of times.
func (s *Spikes) Spike(in *decision.Input) {
	if !named(in) || in.Standing.Tier.Verdict() != attestd.VerdictRejected {
		return
	}
	s.Raise(subject.Grounds{
		ID: in.Who.ID, Tenant: in.Standing.Tenant, Code: subject.CodeRiskSpike, Source: subject.SourceSelf,
		Detail: fmt.Sprintf("its risk was %d when it asked", in.Standing.Risk.Int()),
	})
}

// Raise takes up grounds, as those of a signal that made somebody's risk high. It does not wait.
func (s *Spikes) Raise(grounds subject.Grounds) {
	now, key := s.config.Now(), grounds.ID.Fold()
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, found := s.tried[key]; found && now.Sub(last) < spikeAgain && !now.Before(last) {
		return
	}
	if len(s.tried) >= maxTried {
		clear(s.tried) // some are tried again early, which changes nothing
	}
	select {
	case s.queue <- grounds:
		s.tried[key] = now
	default: // its next question brings it again
		s.dropped.Add(1)
	}
}

// Dropped returns how many spikes found the queue full.
func (s *Spikes) Dropped() uint64 { return s.dropped.Load() }

// Run carries spikes out until ctx ends.
func (s *Spikes) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case one := <-s.queue:
			outcome, err := s.config.Quarantine(ctx, one)
			if err != nil {
				if ctx.Err() == nil {
					s.config.Logger.ErrorContext(ctx, "a risk spike had no consequence but denial",
						slog.String("subject", string(one.ID)), slog.String("tenant", one.Tenant),
						slog.String("err", attestd.Excerpt(err.Error(), 200)))
				}
				continue
			}
			switch outcome {
			case subject.OutcomeLaid, subject.OutcomeDryRun, subject.OutcomeCapped, subject.OutcomeOff:
				s.config.Page(one, outcome)
			case subject.OutcomeHeld, subject.OutcomeSaid:
			}
		}
	}
}
