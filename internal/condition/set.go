package condition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd"
)

// Finding is what a part says about a condition.
type Finding struct {
	ID       ID
	Severity Severity
	Detail   string
}

// State is a condition as it is now.
type State struct {
	Spec
	Severity Severity
	Detail   string
	// Since is when it came to be of that severity; zero for one that was never looked at.
	Since time.Time
}

// Source looks at one or more conditions. What it does not answer for in time is unknown.
type Source struct {
	IDs  []ID
	Look func(ctx context.Context) []Finding
}

// Set holds the state of every condition. It is safe for concurrent use.
type Set struct {
	now func() time.Time

	mu     sync.Mutex
	states map[ID]State
}

// New returns a set in which nothing was looked at.
func New(now func() time.Time) *Set {
	return &Set{now: now, states: map[ID]State{}}
}

// Report takes up what was found. What is no condition of the list is a bug and is told.
func (s *Set) Report(findings ...Finding) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, found := range findings {
		spec := Of(found.ID)
		if spec.Name == "" {
			errs = append(errs, fmt.Errorf("there is no condition %d", uint8(found.ID)))
			continue
		}
		before, seen := s.states[found.ID]
		since := before.Since
		if !seen || before.Severity != found.Severity {
			since = s.now()
		}
		s.states[found.ID] = State{
			Spec: spec, Severity: found.Severity, Detail: attestd.Excerpt(found.Detail, 300), Since: since,
		}
	}
	return errors.Join(errs...)
}

// Snapshot returns every condition of the list that a server reports, in its order.
func (s *Set) Snapshot() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]State, 0, len(specs))
	for _, spec := range All() {
		if spec.Local {
			continue
		}
		state, seen := s.states[spec.ID]
		if !seen {
			state = State{Spec: spec, Detail: "not looked at yet"}
		}
		out = append(out, state)
	}
	return out
}

// Ready returns nil where every condition that attestd cannot work without is well.
func (s *Set) Ready() error {
	var bad []string
	for _, state := range s.Snapshot() {
		if state.Blocks && state.Severity != OK && state.Severity != Warning {
			bad = append(bad, state.Name+": "+state.Detail)
		}
	}
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, "; "))
	}
	return nil
}

// Refresh looks at everything once and returns when each source has answered or its time is over.
func (s *Set) Refresh(ctx context.Context, limit time.Duration, sources ...Source) {
	var looking sync.WaitGroup
	for _, source := range sources {
		looking.Go(func() { s.look(ctx, limit, source) })
	}
	looking.Wait()
}

// Run looks at everything every so often until ctx ends. A source that hangs is looked at again when it
// has come back, and is unknown until then.
func (s *Set) Run(ctx context.Context, every, limit time.Duration, sources ...Source) {
	var running sync.WaitGroup
	for _, source := range sources {
		running.Go(func() {
			ticker := time.NewTicker(every)
			defer ticker.Stop()
			for {
				<-s.look(ctx, limit, source)
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
			}
		})
	}
	running.Wait()
}

// look asks a source, waits at most so long, and returns a channel that ends when the source is back.
func (s *Set) look(ctx context.Context, limit time.Duration, source Source) <-chan struct{} {
	limited, cancel := context.WithTimeout(ctx, limit)
	answered := make(chan []Finding, 1)
	back := make(chan struct{})
	go func() {
		defer close(back)
		defer cancel()
		defer func() {
			if cause := recover(); cause != nil {
				answered <- unknown(source.IDs, "could not be looked at: a bug in attestd")
			}
		}()
		answered <- source.Look(limited)
	}()
	var found []Finding
	select {
	case found = <-answered:
	case <-limited.Done():
		// Both can have happened: an answer that came counts.
		select {
		case found = <-answered:
		default:
			if ctx.Err() != nil {
				return back // the end of the process is nobody's fault
			}
			found = unknown(source.IDs, fmt.Sprintf("did not answer within %s", limit))
		}
	}
	for _, id := range source.IDs {
		if !slices.ContainsFunc(found, func(f Finding) bool { return f.ID == id }) {
			found = append(found, Finding{ID: id, Detail: "was not answered for"})
		}
	}
	if err := s.Report(found...); err != nil {
		_ = s.Report(unknown(source.IDs, err.Error())...) // the source names what is not on the list
	}
	return back
}

func unknown(list []ID, detail string) []Finding {
	out := make([]Finding, 0, len(list))
	for _, id := range list {
		out = append(out, Finding{ID: id, Detail: detail})
	}
	return out
}

var conditionDesc = prometheus.NewDesc("attestd_condition",
	"How each condition is: 0 ok, 1 warning, 2 failure, 3 unknown.", []string{"id"}, nil)

// Describe implements [prometheus.Collector].
func (s *Set) Describe(out chan<- *prometheus.Desc) { out <- conditionDesc }

// Collect implements [prometheus.Collector].
func (s *Set) Collect(out chan<- prometheus.Metric) {
	for _, state := range s.Snapshot() {
		out <- prometheus.MustNewConstMetric(conditionDesc, prometheus.GaugeValue, state.Severity.value(), state.Name)
	}
}

// value is the severity in metrics, where worse is more.
func (s Severity) value() float64 {
	switch s {
	case OK:
		return 0
	case Warning:
		return 1
	case Failure:
		return 2
	default:
		return 3
	}
}
