package issuance

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// Bounds of what composers go on by.
const (
	// HoldoverLife is how long composers go on by what they were handed.
	HoldoverLife = time.Minute
	// holdoverEvery is how old one may be when it is handed out; holdoverGap is between two where
	// what is held changes.
	holdoverEvery = 10 * time.Second
	holdoverGap   = 250 * time.Millisecond
	// trustedFor is how long after it was last granted something an id counts as one that is known
	// well: nothing else is in it.
	trustedFor = 15 * time.Minute
	// maxTrusted is how many such ids are remembered. More are not: they wait for attestd.
	maxTrusted = 1 << 14
	// partBytes is what the rows of one part may come to, and rowBytes what a row does beside its
	// id: the longest claims there are.
	partBytes, rowBytes = 1 << 20, 1500
)

// Degraded says that composers that do not reach attestd go on for a minute by what it said last.
type Degraded struct {
	// Handed notes durably until when they can: it is called before anything is handed out.
	Handed func(until time.Time) error
}

// holdovers are what composers were handed. It is nil where they are handed nothing.
type holdovers struct {
	// trusted are the ids that were granted something as attested, by when that was last.
	mu      sync.Mutex
	trusted map[string]time.Time
	// ends are the ids and nodes that something can still be issued for by what was handed out,
	// folded, with when that ends.
	ends map[string]time.Time
	// groups are the nodes of ids that run on many, with when that ends.
	groups map[*live.Group]time.Time

	making sync.Mutex
	last   *holdover
}

// holdover is one that was made. It is not changed.
type holdover struct {
	number  uint64
	at      time.Time
	version uint64 // of the index's holds, from before anything was decided
	parts   []wire.Signed
}

func newHoldovers(on *Degraded) *holdovers {
	if on == nil {
		return nil
	}
	return &holdovers{
		trusted: map[string]time.Time{}, ends: map[string]time.Time{},
		groups: map[*live.Group]time.Time{},
	}
}

// trust notes that a workload's id was granted something, as attested. An agent's is none, nor one
// that is issued for evidence alone: each of those needs evidence of its own every time.
func (h *holdovers) trust(id string, now time.Time) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, there := h.trusted[id]; !there && len(h.trusted) >= maxTrusted {
		return
	}
	h.trusted[id] = now
}

// known returns the ids that count as known well, and forgets what is over.
func (h *holdovers) known(now time.Time) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []string
	for id, at := range h.trusted {
		if now.Sub(at) >= trustedFor {
			delete(h.trusted, id)
			continue
		}
		ids = append(ids, id)
	}
	for id, end := range h.ends {
		if !end.After(now) {
			delete(h.ends, id)
		}
	}
	for group, end := range h.groups {
		if !end.After(now) {
			delete(h.groups, group)
		}
	}
	slices.Sort(ids)
	return ids
}

// mark notes until when something can be issued for the id. It is called under the index's locks.
func (h *holdovers) mark(id subject.ID, end time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	folded := id.Fold()
	if end.After(h.ends[folded]) {
		h.ends[folded] = end
	}
}

// markAll notes that of every node of the group. It is called under the index's locks.
func (h *holdovers) markAll(group *live.Group, end time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if end.After(h.groups[group]) {
		h.groups[group] = end
	}
}

// HeldOver says until when composers that do not reach attestd can go on issuing to the id, or to
// what runs on the node that it names; zero where they cannot. It is asked after a hold has become
// effective: every later one leaves out what is held.
func (o *Office) HeldOver(id subject.ID) time.Time {
	h := o.holdovers
	if h == nil {
		return time.Time{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	last := h.ends[id.Fold()]
	for group, end := range h.groups {
		if end.After(last) && o.config.Index.Has(group, id) {
			last = end
		}
	}
	if last.After(o.config.Now()) {
		return last
	}
	return time.Time{}
}

// Holdover hands a composer what it goes on by while attestd is out of its reach: each id that was
// granted something within the last quarter of an hour and would be now, for a minute. Before it is
// handed out each of them is counted as granted until then, in the step in which its state is read.
// So after a hold was acknowledged whatever a composer still issues is among what that counts.
//
// Errors: an [*attestd.UndecidedError].
func (o *Office) Holdover(
	ctx context.Context, ask wire.HoldoverRequest,
) (wire.HoldoverAnswer, error) {
	if o.holdovers == nil {
		return wire.HoldoverAnswer{Off: true}, nil
	}
	for {
		changed := o.config.Index.Changed()
		made, wait, err := o.holdover()
		if err != nil {
			return wire.HoldoverAnswer{}, err
		}
		part := 1
		if made != nil && ask.Number == made.number {
			part = ask.Part
		}
		if made != nil && part >= 1 && part <= len(made.parts) {
			return wire.HoldoverAnswer{
				Signed: made.parts[part-1], Key: o.snapshotKey, Now: o.config.Now().UTC(),
			}, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if err := ctx.Err(); err != nil {
			return wire.HoldoverAnswer{}, undecided("spire/holdover",
				"no other within the call's time", err)
		}
	}
}

// holdover returns the one in force, made anew where it is old or what is held has changed, and how
// long it will do. It is nil where the next cannot be made yet.
func (o *Office) holdover() (*holdover, time.Duration, error) {
	h := o.holdovers
	h.making.Lock()
	defer h.making.Unlock()
	now := o.config.Now()
	if last := h.last; last != nil {
		age := max(0, now.Sub(last.at))
		same := last.version == o.config.Index.HoldsVersion()
		switch {
		case same && age < holdoverEvery:
			return last, holdoverEvery - age, nil
		case age < holdoverGap:
			return nil, holdoverGap - age, nil
		}
	}
	made, err := o.makeHoldover(now)
	if err != nil {
		return nil, 0, err
	}
	h.last = made
	return made, holdoverEvery, nil
}

func (o *Office) makeHoldover(now time.Time) (*holdover, error) {
	h := o.holdovers
	made := &holdover{at: now, version: o.config.Index.HoldsVersion()}
	made.number = uint64(now.UnixMicro()) //nolint:gosec // after 1970
	if h.last != nil {
		made.number = max(made.number, h.last.number+1)
	}
	end := now.Add(HoldoverLife).Truncate(time.Second)
	// Before the first row is decided: a process that follows this one must know of it.
	if err := o.config.Degraded.Handed(end); err != nil {
		return nil, undecided("spire/holdover", "nothing is handed out that is not noted", err)
	}
	parts, size := [][]wire.HoldoverRow{{}}, 0
	for _, id := range h.known(now) {
		row, err := o.heldRow(id, now, end)
		if err != nil {
			if o.config.Index.Since().IsZero() {
				return nil, undecided("spire/holdover", "an index that is not loaded", err)
			}
			continue // it waits for attestd
		}
		if size += len(id) + rowBytes; size > partBytes {
			parts, size = append(parts, nil), len(id)+rowBytes
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], row)
	}
	for i, rows := range parts {
		payload, err := json.Marshal(wire.Holdover{
			TrustDomain: o.config.TrustDomain, Number: made.number, Part: i + 1, Parts: len(parts),
			IssuedAt: now.UTC(), ExpiresAt: end.UTC(), Audiences: o.config.Audiences,
			RiskClaims: riskClaims(), Rows: rows,
		})
		if err != nil {
			return nil, fmt.Errorf("holdover: %w", err)
		}
		signed := append([]byte(wire.HoldoverLabel), payload...)
		made.parts = append(made.parts, wire.Signed{
			Payload: payload, Signature: ed25519.Sign(o.config.SnapshotKey, signed),
		})
	}
	return made, nil
}

var errNotHeldOver = errors.New("it waits for attestd")

// heldRow decides about one id as Grant would about a JWT-SVID that ends with the holdover, and
// counts it. What SPIRE's last map does not say, or is too old to say, is asked of nobody.
func (o *Office) heldRow(id string, now, end time.Time) (wire.HoldoverRow, error) {
	who, err := o.parse(id)
	if err != nil {
		return wire.HoldoverRow{}, err
	}
	atlas := o.current()
	if atlas == nil || now.Sub(*atlas.arrived.Load()) >= o.config.Lifetimes.Map {
		return wire.HoldoverRow{}, errNotHeldOver
	}
	spread := atlas.reach(id)
	g := &grant{
		office: o, who: who, now: now, spread: spread,
		ask: wire.GrantRequest{Kind: wire.GrantWorkloadJWT, ID: id, ExpiresAt: end.Unix()},
	}
	row := wire.HoldoverRow{ID: id}
	finish := func() (time.Time, int, error) {
		if !g.said.attested {
			return end, 0, errNotHeldOver
		}
		// Nothing is granted on evidence that is overdue, and nobody says so then: so it ends
		// before.
		last := end
		if g.said.due.Before(last) {
			last = g.said.due
		}
		row.ExpiresAt = last.Unix()
		row.LivesSeconds = int64(o.config.Lifetimes.JWT[g.said.tier] / time.Second)
		left := row.ExpiresAt - now.Unix()
		if left < 1 || row.LivesSeconds < 1 {
			return end, 0, errNotHeldOver
		}
		o.holdovers.mark(who.id, last)
		return last, int(left), nil
	}
	err = g.onNodes(func(own live.Standing, nodes []live.Standing) (int, error) {
		if _, err := g.decide(own, nodes); err != nil {
			return 0, err
		}
		last, left, err := finish()
		for _, node := range nodes {
			if err == nil && node.Grants() {
				o.holdovers.mark(node.ID, last)
			}
		}
		return left, err
	}, func(group *live.Group) (int, error) {
		last, left, err := finish()
		if err == nil {
			o.holdovers.markAll(group, last)
		}
		return left, err
	})
	if err != nil {
		return wire.HoldoverRow{}, err
	}
	row.Claims = g.said.claims(true)
	return row, nil
}

// riskClaims are the names of the claims that only the configured audiences get.
func riskClaims() (names []string) {
	for _, claim := range Claims() {
		if claim.Risk {
			names = append(names, claim.Name)
		}
	}
	return names
}
