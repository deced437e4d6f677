package issuance

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// Bounds of a question to the controller.
const (
	refreshWithin = 250 * time.Millisecond
	// refreshLevels is how many levels of parents are asked for.
	refreshLevels = 8
	// refreshKeep is how long an answer of the controller's stands, also that there is no entry.
	refreshKeep = time.Second
	// maxRefreshed is how many answers are kept.
	maxRefreshed = 1 << 14
	// maxParts is how many frames a map may come in.
	maxParts = 1 << 12
)

// spread is what is known of SPIRE's entries and agents.
type spread struct {
	mu    sync.RWMutex
	atlas *atlas
	// digest of the map that atlas was made from.
	digest uint64
	// parts are those of a map that is not whole yet.
	parts wire.Map
	// refreshed are answers on ids that the map did not have; flights are questions under way.
	refreshed map[string]answer
	flights   map[string]*flight
	seed      maphash.Seed
}

type answer struct {
	reach *reach
	at    time.Time
}

type flight struct {
	done  chan struct{}
	reach *reach
	err   error
}

func newSpread() spread {
	return spread{
		refreshed: map[string]answer{}, flights: map[string]*flight{}, seed: maphash.MakeSeed(),
	}
}

// SetMap takes in what SPIRE has: a whole, or the next part of one.
//
// Errors: a [*attestd.CallerError] of class MALFORMED for parts that do not follow one another. What
// came of that map is dropped.
func (o *Office) SetMap(given wire.Map) error {
	whole, ready, err := o.spread.join(given)
	if err != nil || !ready {
		return err
	}
	now := o.config.Now()
	digest := digestOf(o.spread.seed, whole)
	s := &o.spread
	s.mu.RLock()
	same := s.atlas != nil && s.digest == digest
	s.mu.RUnlock()
	made := (*atlas)(nil)
	if !same {
		made = newAtlas(o.config.TrustDomain, whole, nil)
	}
	s.mu.Lock()
	if made != nil {
		s.atlas, s.digest = made, digest
	}
	s.arrive(now)
	clear(s.refreshed)
	s.mu.Unlock()
	o.learned.forget(whole.At)
	if made != nil {
		o.config.Index.Announce() // orders name ids as SPIRE spells them
	}
	return nil
}

// arrive notes that SPIRE has by now what the atlas says. The lock is held.
func (s *spread) arrive(now time.Time) { s.atlas.arrived.Store(&now) }

// join puts the parts of a map together.
func (s *spread) join(given wire.Map) (whole wire.Map, ready bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	so := s.parts
	s.parts = wire.Map{}
	switch {
	case given.Parts == 0 && given.Part == 0:
		return given, true, nil
	case given.Parts < 1 || given.Parts > maxParts || given.Part < 1 || given.Part > given.Parts,
		given.Part > 1 && (so.Part != given.Part-1 || so.Parts != given.Parts || !so.At.Equal(given.At)):
		return wire.Map{}, false, malformed("send the parts of a map in their order, from 1",
			"part %d of %d after part %d of %d", given.Part, given.Parts, so.Part, so.Parts)
	case given.Part > 1:
		given.Entries = append(so.Entries, given.Entries...)
		given.Agents = append(so.Agents, given.Agents...)
	}
	if given.Part == given.Parts {
		return given, true, nil
	}
	given.Entries, given.Agents = slices.Clip(given.Entries), slices.Clip(given.Agents)
	s.parts = given
	return wire.Map{}, false, nil
}

// digestOf tells a map from the one before: of a fleet that stands still, every five seconds, nothing
// is built anew.
func digestOf(seed maphash.Seed, whole wire.Map) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	text := func(texts ...string) {
		for _, one := range texts {
			_, _ = h.WriteString(one)
			_ = h.WriteByte(0)
		}
	}
	number := func(n int64) {
		for range 8 {
			_ = h.WriteByte(byte(n)) //nolint:gosec // its bytes
			n >>= 8
		}
	}
	selectors := func(list []wire.Selector) {
		number(int64(len(list)))
		for _, one := range list {
			text(one.Type, one.Value)
		}
	}
	number(int64(len(whole.Entries)))
	for _, one := range whole.Entries {
		text(one.SPIFFEID, one.ParentID)
		number(int64(one.X509TTL))
		selectors(one.Selectors)
	}
	for _, one := range whole.Agents {
		text(one.ID)
		number(one.ExpiresAt<<1 | flag(one.Banned))
		selectors(one.Selectors)
	}
	return h.Sum64()
}

func flag(set bool) int64 {
	if set {
		return 1
	}
	return 0
}

// reach says who can obtain an id. What the map does not have, and what it no longer vouches for, is
// asked of the controller.
//
// Errors: an [*attestd.UndecidedError] where that does not answer.
func (o *Office) reach(ctx context.Context, id string) (*reach, error) {
	s := &o.spread
	now := o.config.Now()
	s.mu.RLock()
	atlas := s.atlas
	kept, asked := s.refreshed[id]
	s.mu.RUnlock()
	if asked && now.Sub(kept.at) < refreshKeep {
		return kept.reach, nil
	}
	if o.vouches(atlas) {
		if found := atlas.reach(id); found.known {
			return found, nil
		}
	}
	return o.ask(ctx, id)
}

// ask asks the controller, once for all who want to know.
func (o *Office) ask(ctx context.Context, id string) (*reach, error) {
	s := &o.spread
	s.mu.Lock()
	one, under := s.flights[id]
	if !under {
		one = &flight{done: make(chan struct{})}
		s.flights[id] = one
		go o.fly(context.WithoutCancel(ctx), id, one)
	}
	s.mu.Unlock()
	select {
	case <-one.done:
		return one.reach, one.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (o *Office) fly(ctx context.Context, id string, one *flight) {
	s := &o.spread
	one.err = undecided("spire/entries", "SPIRE's entries are not known", errors.New("no answer"))
	defer func() {
		if broken := recover(); broken != nil {
			one.reach, one.err = nil, fmt.Errorf("refresh: %v", broken)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.flights, id)
		if one.err == nil {
			if len(s.refreshed) >= maxRefreshed {
				clear(s.refreshed)
			}
			s.refreshed[id] = answer{one.reach, o.config.Now()}
		}
		close(one.done)
	}()
	ctx, cancel := context.WithTimeout(ctx, refreshWithin)
	defer cancel()
	one.reach, one.err = o.fetch(ctx, id)
}

// fetch asks for the id's entries, for those of their parents, and so on up to agents.
func (o *Office) fetch(ctx context.Context, id string) (*reach, error) {
	s := &o.spread
	s.mu.RLock()
	before := s.atlas
	s.mu.RUnlock()
	var all wire.Map
	wanted, asked, whole := []string{id}, map[string]bool{id: true}, false
	agents := "spiffe://" + o.config.TrustDomain + agentPath
	server := "spiffe://" + o.config.TrustDomain + serverPath
	for range refreshLevels {
		part, err := o.config.Refresh(ctx, wanted)
		if err != nil {
			return nil, undecided("spire/entries", "the controller does not answer", err)
		}
		all.Agents = append(all.Agents, part.Agents...)
		var next []string
		for _, entry := range part.Entries {
			if !slices.Contains(wanted, entry.SPIFFEID) {
				continue // not asked for
			}
			all.Entries = append(all.Entries, entry)
			parent := entry.ParentID
			if !asked[parent] && parent != server && !strings.HasPrefix(parent, agents) {
				asked[parent] = true
				next = append(next, parent)
			}
		}
		if whole = len(next) == 0; whole {
			break
		}
		wanted = next
	}
	if !whole {
		return nil, undecided("spire/entries", "parents over too many levels",
			fmt.Errorf("want at most %d", refreshLevels))
	}
	found := newAtlas(o.config.TrustDomain, all, before).reach(id)
	if len(found.conditions) != 0 && !o.vouches(before) {
		// The answer has the agents above the id, and not those that match an alias.
		return nil, undecided("spire/entries", "an alias, and agents that are not known",
			errors.New("no map of SPIRE's that is new enough"))
	}
	return found, nil
}

// vouches reports whether attestd still believes what SPIRE had when the atlas was made.
func (o *Office) vouches(a *atlas) bool {
	return a != nil && o.config.Now().Sub(*a.arrived.Load()) < o.config.Lifetimes.Map
}

// Nodes returns the agents that SPIRE can issue the id to, as far as attestd knows, and whether it
// knows an entry of the id.
func (o *Office) Nodes(id string) ([]subject.ID, bool) {
	s := &o.spread
	s.mu.RLock()
	atlas := s.atlas
	kept, asked := s.refreshed[id]
	s.mu.RUnlock()
	found := &reach{}
	if atlas != nil {
		found = atlas.reach(id)
	}
	if !found.known && asked {
		found = kept.reach
	}
	nodes := slices.Concat(o.learned.nodes(found), found.banned)
	slices.Sort(nodes)
	return slices.Compact(nodes), found.known
}
