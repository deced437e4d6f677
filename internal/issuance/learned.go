package issuance

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// pluginType is the type of the selectors that SPIRE makes of what the node attestor says.
const pluginType = "attestd"

// slack is how much longer than the map's own time what was learned since is kept: SPIRE writes an
// agent after attestd has answered for it, and the controller's clock is its own.
const slack = 10 * time.Second

// learned is what attestd knows of agents before SPIRE's next map does.
type learned struct {
	mu sync.RWMutex
	// facts are kept for good: there are as many as nodes.
	facts map[subject.ID]facts
	// fresh are agents that attested themselves, or that another attestor's answer was granted for;
	// bearers are those that have a selector.
	fresh   map[subject.ID]freshAgent
	bearers map[wire.Selector]map[subject.ID]struct{}
	// strangers are the fresh agents of other attestors.
	strangers map[subject.ID]struct{}
	// news rises with whatever can make a statement worse, or add a node to one, and that the index
	// does not know.
	news atomic.Uint64
}

// mostStrangers is how many of them are said to match an alias: one is enough for it to be nobody's.
const mostStrangers = 16

type freshAgent struct {
	at time.Time
	// selectors are nil for an agent of another attestor, whose selectors attestd does not know.
	selectors []wire.Selector
}

func newLearned() learned {
	return learned{
		facts: map[subject.ID]facts{}, fresh: map[subject.ID]freshAgent{},
		bearers: map[wire.Selector]map[subject.ID]struct{}{}, strangers: map[subject.ID]struct{}{},
	}
}

// learn takes in what a node's evidence showed. Listed is the agent as SPIRE's map has it, if it does.
func (l *learned) learn(
	id subject.ID, shown facts, values []string, listed *agent, now time.Time,
) {
	// SPIRE adds the last one where it is told to; where it is not, no alias asks for it.
	selectors := make([]wire.Selector, len(values), len(values)+1)
	for i, value := range values {
		selectors[i] = wire.Selector{Type: pluginType, Value: value}
	}
	selectors = append(selectors, wire.Selector{Type: "spiffe_id", Value: string(id)})
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.knows(id, selectors, listed, now) || !l.facts[id].alike(shown) {
		defer l.news.Add(1)
	}
	l.facts[id] = shown
	l.drop(id)
	l.fresh[id] = freshAgent{now, selectors}
	for _, selector := range selectors {
		if l.bearers[selector] == nil {
			l.bearers[selector] = map[subject.ID]struct{}{}
		}
		l.bearers[selector][id] = struct{}{}
	}
}

// knows reports whether an agent that attested itself is no news: the map has it as it is, or it is known
// already. The lock is held.
func (l *learned) knows(
	id subject.ID, selectors []wire.Selector, listed *agent, now time.Time,
) bool {
	if old, fresh := l.fresh[id]; fresh && slices.Equal(old.selectors, selectors) {
		return true
	}
	// The last one is not the attestor's: where SPIRE adds it, the map has it.
	return listed != nil && !listed.banned && lives(listed.expires, now) &&
		hasAll(listed.selectors, selectors[:len(selectors)-1])
}

// remember takes in what evidence showed that is no news: what is there already may be newer.
func (l *learned) remember(id subject.ID, shown facts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old, there := l.facts[id]; !there || old.at < shown.at {
		if !old.alike(shown) {
			defer l.news.Add(1)
		}
		l.facts[id] = shown
	}
}

// saw takes in that an agent of another attestor was granted its SVID.
func (l *learned) saw(id subject.ID, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old, fresh := l.fresh[id]; !fresh || old.selectors != nil {
		defer l.news.Add(1)
	}
	l.fresh[id] = freshAgent{at: now}
	l.strangers[id] = struct{}{}
}

// drop ends what is known of a fresh agent. The lock is held.
func (l *learned) drop(id subject.ID) {
	for _, selector := range l.fresh[id].selectors {
		if delete(l.bearers[selector], id); len(l.bearers[selector]) == 0 {
			delete(l.bearers, selector)
		}
	}
	delete(l.fresh, id)
	delete(l.strangers, id)
}

// of returns what the node's evidence showed; the zero facts where that is not known.
func (l *learned) of(id subject.ID) facts {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.facts[id]
}

// recent reports whether the agent was granted its SVID since SPIRE's map was made.
func (l *learned) recent(id subject.ID) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	_, fresh := l.fresh[id]
	return fresh
}

// forget drops agents that SPIRE's map of that time has.
func (l *learned) forget(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, one := range l.fresh {
		if at.Sub(one.at) >= slack {
			l.drop(id)
		}
	}
}

// nodes are the agents that can obtain an id: those that SPIRE's map says, and those that attested
// themselves since and match an alias, or are banned in the map no more. What selectors an agent of
// another attestor has is known from the map alone: until then it may match whatever is none of attestd's.
func (l *learned) nodes(spread *reach) []subject.ID {
	ids := spread.nodes
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.fresh) == 0 || len(spread.conditions) == 0 && len(spread.banned) == 0 {
		return ids
	}
	ids = ids[:len(ids):len(ids)] // what is appended goes elsewhere
	for _, id := range spread.banned {
		if _, fresh := l.fresh[id]; fresh {
			ids = append(ids, id)
		}
	}
	var added map[subject.ID]bool
	for _, condition := range spread.conditions {
		if len(condition) == 0 {
			continue
		}
		fewest := l.bearers[condition[0]]
		for _, selector := range condition[1:] {
			if bearers := l.bearers[selector]; len(bearers) < len(fewest) {
				fewest = bearers
			}
		}
		for id := range fewest {
			if spread.has[id] || added[id] || !hasAll(l.fresh[id].selectors, condition) {
				continue
			}
			if added == nil {
				added = map[subject.ID]bool{}
			}
			ids, added[id] = append(ids, id), true
		}
	}
	if spread.open {
		most := len(ids) + mostStrangers
		for id := range l.strangers {
			if _, listed := spread.of.agent(string(id)); !listed && !spread.has[id] && len(ids) < most {
				ids = append(ids, id)
			}
		}
	}
	return ids
}
