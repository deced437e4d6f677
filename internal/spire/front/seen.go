package front

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
)

// Bounds of what is remembered of peers.
const (
	mostPlugins = 64
	mostCounts  = 64
	// forget is after how long a plugin that reports no more is not named any more.
	forget = 10 * time.Minute
)

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Plugin is a plugin that reports.
type Plugin struct {
	Who    string
	Report wire.PluginReport
	At     time.Time
}

// Canary is the last outcome of one canary, by attestd's own clock.
type Canary struct {
	Result wire.CanaryResult
	At     time.Time
}

// Status is what the front has heard.
type Status struct {
	Controller bool
	Plugins    []Plugin
	Canaries   []Canary
	// MapAt is when the last whole map came, Entries and Agents are its size; zero for none.
	MapAt           time.Time
	Entries, Agents int
	// Watchers are the nodes that are told how they stand; Refused counts refusals.
	Watchers int
	Refused  uint64
}

// seen is what was heard of plugins and canaries.
type seen struct {
	refused atomic.Uint64

	mu       sync.Mutex
	plugins  map[pluginKey]Plugin
	canaries map[string]Canary
	mapAt    time.Time
	entries  int
	agents   int
}

type pluginKey struct {
	who, plugin string
	pid         int
}

// report takes a plugin's report in place of its last one.
func (s *seen) report(who string, said wire.PluginReport, now time.Time) error {
	if !nameForm.MatchString(said.Plugin) || len(said.Version) > 80 || len(said.Counts) > mostCounts {
		return malformed("a report of plugin %q with %d counts", attestd.Excerpt(said.Plugin, 40), len(said.Counts))
	}
	for name := range said.Counts {
		if !nameForm.MatchString(name) {
			return malformed("a report with the count %q", attestd.Excerpt(name, 40))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plugins == nil {
		s.plugins = make(map[pluginKey]Plugin)
	}
	for key, one := range s.plugins {
		if now.Sub(one.At) > forget {
			delete(s.plugins, key)
		}
	}
	key := pluginKey{who, said.Plugin, said.PID}
	if _, known := s.plugins[key]; !known && len(s.plugins) >= mostPlugins {
		return &attestd.CallerError{
			Class: attestd.ClassRateLimited, Hint: "see why plugins are started that often", Err: errTooMany,
		}
	}
	s.plugins[key] = Plugin{Who: who, Report: said, At: now}
	return nil
}

// canary takes the outcome of a canary.
func (s *seen) canary(said wire.CanaryResult, now time.Time) error {
	if said.Name != "mint" && said.Name != "attestation" {
		return malformed("a canary %q", attestd.Excerpt(said.Name, 40))
	}
	said.Error = attestd.Excerpt(said.Error, 300)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.canaries == nil {
		s.canaries = make(map[string]Canary)
	}
	s.canaries[said.Name] = Canary{Result: said, At: now}
	return nil
}

func (s *seen) mapped(whole wire.Map, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mapAt, s.entries, s.agents = now, len(whole.Entries), len(whole.Agents)
}

// Status returns what the front has heard.
func (f *Front) Status() Status {
	status := Status{
		Controller: f.config.Controller.Connected(), Watchers: f.watchers.count(), Refused: f.seen.refused.Load(),
	}
	f.seen.mu.Lock()
	defer f.seen.mu.Unlock()
	for _, one := range f.seen.plugins {
		status.Plugins = append(status.Plugins, one)
	}
	for _, one := range f.seen.canaries {
		status.Canaries = append(status.Canaries, one)
	}
	slices.SortFunc(status.Plugins, func(a, b Plugin) int {
		return strings.Compare(a.Report.Plugin+a.Who, b.Report.Plugin+b.Who)
	})
	slices.SortFunc(status.Canaries, func(a, b Canary) int {
		return strings.Compare(a.Result.Name, b.Result.Name)
	})
	status.MapAt, status.Entries, status.Agents = f.seen.mapAt, f.seen.entries, f.seen.agents
	return status
}
