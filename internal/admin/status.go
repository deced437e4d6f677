package admin

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/condition"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

func (s *server) status(c *call) (any, error) {
	now := s.config.Now()
	pending, err := s.pending(c)
	if err != nil {
		return nil, err
	}
	counts := s.config.Index.Counts(slices.Clone(c.who.Tenants), now)
	return wire.Status{
		Schema: "attestd.status.v1", Version: s.config.Version, Ready: s.config.Conditions.Ready() == nil,
		Now: now.UTC(), Started: s.config.Started.UTC(), Store: s.config.Store,
		Policies: c.policies(s.config.Policies()),
		States:   orEmpty(counts.States), Tiers: orEmpty(counts.Tiers), Formats: orEmpty(counts.Formats),
		Pending: pending, Overdue: counts.Overdue, Oldest: counts.Oldest,
		Channels:   s.channels.last(c.who),
		Conditions: s.shownConditions(c, false),
	}, nil
}

// maxPending is how far waiting machines are counted: the queue is bounded, and it is long at that.
const maxPending = 10000

// pending counts the machines that wait for approval and that the asker may see.
func (s *server) pending(c *call) (count int, err error) {
	filter := subject.Filter{
		Tenants: slices.Clone(c.who.Tenants), Status: subject.StatusPending, Limit: maxPage,
	}
	for count < maxPending {
		page, err := s.config.Enrolments.List(c, c.who, filter)
		if err != nil {
			return 0, err
		}
		count += len(page.Enrolments)
		if page.Next == "" {
			break
		}
		filter.After = page.Next
	}
	return count, nil
}

// policies leaves out those of tenants that the asker may not know of: their names stand before them.
func (c *call) policies(all []string) []string {
	return slices.DeleteFunc(append([]string{}, all...), func(one string) bool {
		tenant, _, some := strings.Cut(one, "=")
		return some && !c.who.Sees(tenant)
	})
}

// channels remembers how long the latest hold took to be effective in each place, for each set of
// tenants that somebody acts for: that another tenant has just held something is theirs to know. Who
// acts for all tenants sees the latest of all.
type channels struct {
	mu     sync.Mutex
	latest map[string][]wire.Channel
}

// Bounds of the table: channels are a few, all named by attestd; sets of tenants are as many as
// operators were named for.
const (
	maxChannels = 32
	maxSets     = 1024
)

func setOf(who operator.Principal) string {
	return strings.Join(slices.Sorted(slices.Values(who.Tenants)), " ")
}

// took takes up what a receipt says. Its details are of one tenant and are left out.
func (t *channels) took(who operator.Principal, receipt wire.Receipt) {
	if receipt.DryRun {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.latest == nil || len(t.latest) >= maxSets {
		t.latest = map[string][]wire.Channel{}
	}
	for _, set := range slices.Compact([]string{setOf(who), operator.AllTenants}) {
		for _, one := range receipt.Channels {
			one.Detail = ""
			list := t.latest[set]
			index := slices.IndexFunc(list, func(known wire.Channel) bool { return known.Name == one.Name })
			switch {
			case index >= 0:
				list[index] = one
			case len(list) < maxChannels:
				t.latest[set] = append(list, one)
			}
		}
	}
}

func (t *channels) last(who operator.Principal) []wire.Channel {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]wire.Channel{}, t.latest[setOf(who)]...)
}

func orEmpty(counts map[string]int) map[string]int {
	if counts == nil {
		return map[string]int{}
	}
	return counts
}

func (s *server) conditions(c *call) (any, error) {
	return wire.Conditions{Schema: "attestd.conditions.v1", Conditions: s.shownConditions(c, true)}, nil
}

// shownConditions returns the conditions, well ones only where all are asked for. Details can count or
// name what is other tenants'; who may act for some tenants alone learns what it means for them and
// not how much there is of it.
func (s *server) shownConditions(c *call, all bool) []wire.Condition {
	shown := []wire.Condition{}
	for _, state := range s.config.Conditions.Snapshot() {
		if !all && state.Severity == condition.OK {
			continue
		}
		one := wire.Condition{ID: state.Name, Severity: state.Severity.String(), Since: state.Since}
		if state.Severity != condition.OK {
			one.Effect, one.Fix = state.Effect, state.Fix
		}
		if c.who.Sees(operator.AllTenants) {
			one.Detail = state.Detail
		}
		shown = append(shown, one)
	}
	return shown
}

func (s *server) auditEntries(c *call) (any, error) {
	limit, err := c.limit(100)
	if err != nil {
		return nil, err
	}
	start, err := c.number("start", 0)
	if err != nil {
		return nil, err
	}
	return s.config.Audit.Entries(c, start, limit)
}

// level is the level of the log, and for how long.
type level struct {
	mu       sync.Mutex
	variable *slog.LevelVar
	usual    slog.Level
	until    time.Time
	back     *time.Timer
}

func newLevel(variable *slog.LevelVar) *level {
	return &level{variable: variable, usual: variable.Level()}
}

// set changes the level, for so long where lasts is above zero.
func (l *level) set(to slog.Level, until time.Time, lasts time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.back != nil {
		l.back.Stop()
	}
	l.variable.Set(to)
	l.until, l.back = until, nil
	if lasts <= 0 {
		return
	}
	var mine *time.Timer
	mine = time.AfterFunc(lasts, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.back == mine { // nobody has set it since
			l.variable.Set(l.usual)
			l.until, l.back = time.Time{}, nil
		}
	})
	l.back = mine
}

var levelNames = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

func (l *level) document() wire.LogLevel {
	l.mu.Lock()
	defer l.mu.Unlock()
	document := wire.LogLevel{Schema: "attestd.log-level.v1", Level: "info", Until: l.until}
	for name, one := range levelNames {
		if one == l.variable.Level() {
			document.Level = name
		}
	}
	return document
}

func (s *server) logLevel(*call) (any, error) { return s.level.document(), nil }

// maxLevelTime is for how long a level can be set: a log at debug fills disks.
const maxLevelTime = 30 * 24 * time.Hour

func (s *server) setLogLevel(c *call) (any, error) {
	ask, err := decode[wire.LogLevel](c)
	if err != nil {
		return nil, err
	}
	to, known := levelNames[ask.Level]
	now := s.config.Now()
	switch {
	case ask.Schema != "" && ask.Schema != "attestd.log-level.v1":
		return nil, malformed("schema is not attestd.log-level.v1", "leave it out, or mend it")
	case !known:
		return nil, malformed("the level is unknown", "levels are debug, info, warn and error")
	case !ask.Until.IsZero() && (!ask.Until.After(now) || ask.Until.Sub(now) > maxLevelTime):
		return nil, malformed("until has passed, or is more than 30 days ahead", "give a time within 30 days")
	}
	c.about.Target = ask.Level
	lasts := time.Duration(0)
	if !ask.Until.IsZero() {
		lasts = ask.Until.Sub(now)
	}
	s.level.set(to, ask.Until.UTC(), lasts)
	return s.level.document(), nil
}
