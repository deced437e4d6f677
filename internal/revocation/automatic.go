package revocation

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/subject"
)

// Automatic quarantines by itself on the grounds that the rules name, within their caps. The
// subjects are suspect already, by the write that showed the grounds: over a cap, in a dry run, and
// where automation is off they stay so, and nobody becomes trusted by it.
//
// Errors: where a quarantine could be laid neither in the store nor in the journal.
func (a *Authority) Automatic(ctx context.Context, grounds []subject.Grounds) error {
	var failed error
	for _, one := range grounds {
		if a.Rules.Mode == subject.ModeOff || !slices.Contains(a.Rules.Codes, one.Code) {
			continue
		}
		if _, err := a.onGrounds(ctx, one, a.Rules.Mode); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

func (a *Authority) onGrounds(
	ctx context.Context, one subject.Grounds, mode subject.Mode,
) (subject.Outcome, error) {
	now := a.Now()
	if s, found, err := a.Store.Subject(ctx, one.ID); err == nil && found && subject.Barred(s.State) {
		return subject.OutcomeHeld, nil
	}
	if mode == subject.ModeDryRun {
		if !a.caps.take(capKey{one.Code, string(one.ID), one.Tenant}, 1, now) {
			return subject.OutcomeSaid, nil
		}
		return subject.OutcomeDryRun, a.Store.Write(ctx, subject.Write{
			Audit: []audit.Record{grounded(one, now, "dry-run", "")},
		})
	}
	key := capKey{one.Code, one.Source, one.Tenant}
	if !one.Code.Uncapped() && !a.caps.take(key, a.Rules.PerHour, now) {
		if !a.caps.over(key, now) {
			return subject.OutcomeSaid, nil // the counter goes on
		}
		a.Logger.WarnContext(ctx, "a cap on automatic quarantines is reached",
			slog.String("code", string(one.Code)), slog.String("tenant", one.Tenant))
		return subject.OutcomeCapped, a.Store.Write(ctx, subject.Write{Audit: []audit.Record{
			grounded(one, now, "refused", string(attestd.ClassRateLimited)),
		}})
	}
	return a.layOn(ctx, one, now)
}

func (a *Authority) layOn(ctx context.Context, one subject.Grounds, now time.Time) (subject.Outcome, error) {
	var write subject.Write
	laid := subject.OutcomeHeld
	_, err := a.impose(ctx, func() (subject.Write, error) {
		laid = subject.OutcomeHeld
		s, found, err := a.Store.Subject(ctx, one.ID)
		if err != nil || !found || subject.Barred(s.State) {
			return subject.Write{}, err
		}
		write, err = a.automatic(ctx, s, one, now)
		laid = subject.OutcomeLaid
		return write, err
	})
	var caller *attestd.CallerError
	if err == nil || errors.As(err, &caller) {
		return laid, err
	}
	// The store is down between the verdict and its consequence: round it, on the name at least.
	if len(write.Bars) == 0 {
		write = subject.Lay(attestd.StateQuarantined, []subject.Key{one.ID.Key()}, one.Tenant, nil, nil,
			actOn(one, now))
	}
	_, _, err = a.hold(ctx, now, entry{
		State: attestd.StateQuarantined, Bars: barsOf(write), Tenant: one.Tenant, ID: one.ID,
		Audit: grounded(one, now, "done", ""),
	})
	return subject.OutcomeLaid, err
}

func actOn(one subject.Grounds, now time.Time) subject.Act {
	return subject.Act{By: subject.SourceSelf, Automatic: true, Code: one.Code, Text: one.Detail, At: now}
}

// automatic is the quarantine of a name and its instance. A host is never barred automatically: it
// is shared with those who did nothing.
func (a *Authority) automatic(
	ctx context.Context, s subject.Subject, one subject.Grounds, now time.Time,
) (subject.Write, error) {
	found := target{keys: []subject.Key{s.ID.Key()}, subjects: []subject.Subject{s}, tenant: s.Tenant}
	if s.Instance.Value != "" {
		found.keys = append(found.keys, subject.Key{
			Kind: string(subject.BarInstance), Value: s.Instance.Value,
		})
	}
	err := a.bars(ctx, &found)
	write := subject.Lay(attestd.StateQuarantined, found.keys, found.tenant, found.subjects, found.bars,
		actOn(one, now))
	write.Audit = []audit.Record{grounded(one, now, "done", "")}
	return write, err
}

func grounded(one subject.Grounds, now time.Time, outcome, class string) audit.Record {
	return audit.Record{
		At: now, Actor: subject.SourceSelf, Via: "local", Tenant: one.Tenant, Action: ActionQuarantine,
		Target: string(one.ID), Outcome: outcome, Class: class, Reason: one.Detail,
		Detail: map[string]string{
			"code": string(one.Code), "source": one.Source, "appraisal": one.AppraisalID,
		},
	}
}

// maxCaps bounds what is counted. Over it nothing new is laid by itself that has a cap.
const maxCaps = 4096

type capKey struct {
	code           subject.Code
	source, tenant string
}

// caps count automatic quarantines of the last hour for each code, source and tenant: one count for
// all would be burnt by decoys of one source. The zero caps are ready.
type caps struct {
	mu    sync.Mutex
	taken map[capKey][]time.Time
	told  map[capKey]time.Time
	count int
	last  time.Time
}

// take reports whether one more is within the cap, and counts it.
func (c *caps) take(key capKey, most int, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken == nil {
		c.taken, c.told = map[capKey][]time.Time{}, map[capKey]time.Time{}
	}
	since := now.Add(-time.Hour)
	times := c.taken[key]
	if times == nil && len(c.taken) >= maxCaps {
		c.prune(since)
		if len(c.taken) >= maxCaps {
			return false
		}
	}
	times = slices.DeleteFunc(times, func(at time.Time) bool { return !at.After(since) })
	if len(times) >= most {
		c.taken[key] = times
		return false
	}
	c.taken[key] = append(times, now)
	return true
}

// over counts one that was not laid, and reports whether that is to be said: once an hour.
func (c *caps) over(key capKey, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	c.last = now
	if at, told := c.told[key]; told && now.Sub(at) < time.Hour || len(c.told) >= maxCaps {
		return false
	}
	c.told[key] = now
	return true
}

func (c *caps) prune(since time.Time) {
	for key, times := range c.taken {
		if len(times) == 0 || !times[len(times)-1].After(since) {
			delete(c.taken, key)
		}
	}
	for key, at := range c.told {
		if !at.After(since) {
			delete(c.told, key)
		}
	}
}

func (c *caps) refused() (int, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count, c.last
}
