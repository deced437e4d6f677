package controller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
)

// A held entry has one selector more, which no attestor ever gives: SPIRE demands all selectors of
// an entry (SPIRE 1.15.3, doc/plugin_agent_workloadattestor_*), so that it matches nothing.
const (
	markType   = "attestd"
	markPrefix = "held:"
)

// mark is the selector that holds the entries of a SPIFFE ID. It names the id it was made for, so
// that a copy of it in another entry is not taken for attestd's.
func mark(id string) wire.Selector {
	sum := sha256.Sum256([]byte("attestd/hold/v1\x00" + id))
	return wire.Selector{Type: markType, Value: markPrefix + hex.EncodeToString(sum[:8])}
}

func marked(entry wire.Entry) bool { return slices.Contains(entry.Selectors, mark(entry.SPIFFEID)) }

// holdable reports whether attestd may touch an entry: what GitOps or a controller manager made would
// be put back by them.
func (c *controller) holdable(entryID string) bool {
	return c.config.EntryPrefix != "" && strings.HasPrefix(entryID, c.config.EntryPrefix)
}

// savedWithin bounds how long a hold waits for attestd's record of it: revocation never waits longer.
const savedWithin = 250 * time.Millisecond

// hold marks every entry of a SPIFFE ID that attestd may mark, and again whatever undoes it.
func (o *orders) hold(ctx context.Context, t *task) {
	slots, delay := o.first, banEvery
	for ctx.Err() == nil {
		err := o.holdOnce(ctx, t, slots)
		slots = o.repeat
		if err == nil {
			delay = banEvery
			select {
			case <-t.kick:
			case <-ctx.Done():
				return
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		o.say(t, false, "SPIRE: "+attestd.Excerpt(err.Error(), 200))
		delay = min(2*delay, mostDelay)
		if !pause(ctx, delay) {
			return
		}
	}
}

func (o *orders) holdOnce(ctx context.Context, t *task, slots chan struct{}) error {
	id := t.target.id
	entries, err := o.entriesOf(ctx, slots, id)
	if err != nil {
		return err
	}
	var foreign []string
	for _, entry := range entries {
		switch {
		case !o.c.holdable(entry.ID):
			foreign = append(foreign, entry.ID)
		case marked(entry):
		default:
			if o.c.record.has(o.c.record.holds, entry.ID) {
				o.c.log.WarnContext(ctx, "a hold was undone in SPIRE and is laid again",
					"subject", id, "entry", entry.ID)
			}
			o.c.record.set(o.c.record.holds, entry.ID, true)
			waiting, cancel := context.WithTimeout(ctx, savedWithin)
			o.c.record.saved(waiting)
			cancel()
			next := append(slices.Clone(entry.Selectors), mark(id))
			err := o.with(ctx, slots, func(ctx context.Context) error {
				return o.c.spire.setSelectors(ctx, entry.ID, next)
			})
			if err != nil {
				return fmt.Errorf("entry %q: %w", attestd.Excerpt(entry.ID, 80), err)
			}
		}
	}
	switch {
	case len(entries) == 0:
		o.say(t, false, "SPIRE has no entry for it")
	case len(foreign) != 0:
		slices.Sort(foreign)
		names := attestd.Excerpt(strings.Join(foreign, ", "), 120)
		o.say(t, false, fmt.Sprintf("%d of %d entries are not attestd's to hold (%s), "+
			"their ids do not begin with %q: composer and bans count there",
			len(foreign), len(entries), names, o.c.config.EntryPrefix))
	default:
		o.say(t, true, "")
	}
	return nil
}

// unhold takes attestd's marks off the entries of a SPIFFE ID.
func (o *orders) unhold(ctx context.Context, t *task) {
	for delay := banEvery; ctx.Err() == nil; delay = min(2*delay, mostDelay) {
		left, err := o.unholdOnce(ctx, t.target.id)
		switch {
		case err == nil && len(left) == 0:
			o.finish(t, true, "")
			return
		case err == nil:
			o.finish(t, false, "take the mark off by hand, attestd has no record of it or it is the only selector: "+
				attestd.Excerpt(strings.Join(left, ", "), 120))
			return
		case ctx.Err() != nil:
			return
		}
		o.say(t, false, "SPIRE: "+attestd.Excerpt(err.Error(), 200))
		if !pause(ctx, delay) {
			return
		}
	}
}

// unholdOnce returns the entries whose mark is not attestd's to take off.
func (o *orders) unholdOnce(ctx context.Context, id string) (left []string, err error) {
	entries, err := o.entriesOf(ctx, o.first, id)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if !o.c.holdable(entry.ID) || !marked(entry) {
			continue
		}
		isMark := func(s wire.Selector) bool { return s == mark(id) }
		next := slices.DeleteFunc(slices.Clone(entry.Selectors), isMark)
		// Without a selector an entry would match every workload, if SPIRE took it.
		if len(next) == 0 || !o.c.record.has(o.c.record.holds, entry.ID) {
			left = append(left, entry.ID)
			continue
		}
		err := o.with(ctx, o.first, func(ctx context.Context) error {
			return o.c.spire.setSelectors(ctx, entry.ID, next)
		})
		if err != nil {
			return nil, fmt.Errorf("entry %q: %w", attestd.Excerpt(entry.ID, 80), err)
		}
		o.c.record.set(o.c.record.holds, entry.ID, false)
	}
	return left, nil
}

func (o *orders) entriesOf(ctx context.Context, slots chan struct{}, id string) (
	entries []wire.Entry, err error,
) {
	err = o.with(ctx, slots, func(ctx context.Context) (err error) {
		entries, err = o.c.spire.listEntries(ctx, id)
		return err
	})
	return entries, err
}
