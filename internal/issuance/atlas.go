package issuance

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// atlas is what SPIRE had at one moment: which id is issued through which parents, and which agents
// there are. It is not changed once it is made.
//
// SPIRE gives an agent the entries whose parent is its id, those whose parent is an alias whose
// selectors are all among the agent's, and those whose parent is the id of an entry that it gets; over
// any number of levels.
type atlas struct {
	// arrived is when SPIRE was last known to have it, by attestd's clock.
	arrived atomic.Pointer[time.Time]
	// base has the agents that this one does not have; nil for none.
	base    *atlas
	server  string
	prefix  string // of agents' ids
	numbers map[string]uint32
	names   []string
	// first has for each number where its rows begin; the next number's begin is their end.
	first []uint32
	rows  []row
	// conditions are the selectors of aliases.
	conditions [][]wire.Selector
	agents     map[string]agent
	// direct are the entries without an agent, by their parent.
	direct map[string][]wire.Entry
	// odd are ids by their folded form that are not in it.
	odd map[string][]string
	// bearers are the agents that have a selector.
	bearers map[wire.Selector][]string
	// reached are answers of reach, shared those of above.
	reached, shared sync.Map
}

// row is one entry of an id.
type row struct {
	parent uint32
	// condition is one more than the number of the alias's selectors; 0 where the entry is no alias.
	condition uint32
	x509      int32
}

// agent is an agent of SPIRE's.
type agent struct {
	selectors []wire.Selector
	banned    bool
	expires   int64
}

func newAtlas(trustDomain string, whole wire.Map, base *atlas) *atlas {
	a := &atlas{
		base: base, odd: map[string][]string{}, server: "spiffe://" + trustDomain + serverPath,
		prefix: "spiffe://" + trustDomain + agentPath, numbers: map[string]uint32{},
		agents: make(map[string]agent, len(whole.Agents)), bearers: map[wire.Selector][]string{},
		direct: map[string][]wire.Entry{},
	}
	directPrefix := "spiffe://" + trustDomain + directPath
	for _, entry := range whole.Entries {
		a.number(entry.SPIFFEID)
		a.number(entry.ParentID)
		if strings.HasPrefix(entry.ParentID, directPrefix) {
			a.direct[entry.ParentID] = append(a.direct[entry.ParentID], entry)
		}
	}
	a.first = make([]uint32, len(a.names)+1)
	for _, entry := range whole.Entries {
		a.first[a.numbers[entry.SPIFFEID]+1]++
	}
	for i := 1; i < len(a.first); i++ {
		a.first[i] += a.first[i-1]
	}
	a.rows = make([]row, len(whole.Entries))
	filled := make([]uint32, len(a.names))
	for _, entry := range whole.Entries {
		id := a.numbers[entry.SPIFFEID]
		one := row{parent: a.numbers[entry.ParentID], x509: seconds32(entry.X509TTL)}
		if entry.ParentID == a.server {
			a.conditions = append(a.conditions, entry.Selectors)
			one.condition = uint32(len(a.conditions)) //nolint:gosec // bounded by what a link carries
		}
		a.rows[a.first[id]+filled[id]] = one
		filled[id]++
	}
	for _, one := range whole.Agents {
		a.spell(one.ID)
		a.agents[one.ID] = agent{one.Selectors, one.Banned, one.ExpiresAt}
		for _, selector := range one.Selectors {
			a.bearers[selector] = append(a.bearers[selector], one.ID)
		}
	}
	return a
}

// seconds32 takes in a lifetime; one that is out of bounds is as long as can be, and refused later.
func seconds32(seconds int) int32 {
	const most = 1 << 30
	if seconds < 0 || seconds > most {
		return most
	}
	return int32(seconds)
}

func (a *atlas) number(id string) uint32 {
	number, there := a.numbers[id]
	if !there {
		number = uint32(len(a.names)) //nolint:gosec // bounded by what a link carries
		a.numbers[id] = number
		a.names = append(a.names, id)
		a.spell(id)
	}
	return number
}

// spell remembers an id that differs from its folded form.
func (a *atlas) spell(id string) {
	if folded := subject.ID(id).Fold(); folded != id && !slices.Contains(a.odd[folded], id) {
		a.odd[folded] = append(a.odd[folded], id)
	}
}

// spellings are the forms of an id that SPIRE has, beside the one given: ids that differ in case alone
// are one subject here, and several for SPIRE.
func (a *atlas) spellings(id subject.ID) []string {
	out := []string{string(id)}
	folded := id.Fold()
	if _, there := a.numbers[folded]; there {
		out = append(out, folded)
	}
	return append(out, a.odd[folded]...)
}

// agent returns an agent that SPIRE has.
func (a *atlas) agent(id string) (agent, bool) {
	one, there := a.agents[id]
	if !there && a.base != nil {
		return a.base.agent(id)
	}
	return one, there
}

// bearing are the agents that have the selector.
func (a *atlas) bearing(selector wire.Selector) []string {
	if a.base == nil {
		return a.bearers[selector]
	}
	return slices.Concat(a.bearers[selector], a.base.bearing(selector))
}

// reach is who can obtain an id.
type reach struct {
	// known says that SPIRE has an entry of the id.
	known bool
	// nodes are agents' ids, each once; banned are those that SPIRE bans, which are not among them.
	nodes, banned []subject.ID
	// has are both; nil where there are no conditions.
	has map[subject.ID]bool
	// listed has for each node whether SPIRE has an agent of that id, whose SVID ends at expires.
	listed  []bool
	expires []int64
	// conditions are the selectors of aliases on the way.
	conditions [][]wire.Selector
	// open says that one of them may match agents of other attestors.
	open bool
	// x509 is the longest lifetime that an entry of the id asks for; 0 for none.
	x509 int
	// of is where it was looked up.
	of *atlas
	// joint is what is kept of the nodes between grants, where they are many.
	joint *joint
}

// lives reports whether a node of the map can ask SPIRE for anything.
func (r *reach) lives(node int, now time.Time) bool {
	return r.listed[node] && lives(r.expires[node], now)
}

func lives(expires int64, now time.Time) bool {
	return expires == 0 || expires > now.Add(-slack).Unix()
}

// reach says who can obtain the id.
func (a *atlas) reach(id string) *reach {
	number, known := a.numbers[id]
	if !known || a.first[number] == a.first[number+1] {
		return &reach{}
	}
	if found, done := a.reached.Load(id); done {
		return found.(*reach) //nolint:forcetypeassert // nothing else is stored
	}
	var parents []uint32
	x509 := 0
	for _, one := range a.rows[a.first[number]:a.first[number+1]] {
		x509 = max(x509, int(one.x509))
		// An alias is no identity that an agent gets.
		if one.condition == 0 && (len(parents) == 0 || parents[len(parents)-1] != one.parent) {
			parents = append(parents, one.parent)
		}
	}
	found := *a.above(parents)
	found.known, found.x509 = true, x509
	a.reached.Store(strings.Clone(id), &found)
	return &found
}

// above says who can obtain what has these parents. Of one parent alone it is kept: an alias can have as
// many agents as there are, and any number of ids below it.
func (a *atlas) above(parents []uint32) *reach {
	if len(parents) == 1 {
		if found, done := a.shared.Load(parents[0]); done {
			return found.(*reach) //nolint:forcetypeassert // nothing else is stored
		}
	}
	found := &reach{of: a, joint: &joint{}}
	seen := map[uint32]bool{}
	agents := map[string]bool{}
	for _, parent := range parents {
		a.climb(parent, seen, agents, found)
	}
	for _, condition := range found.conditions {
		a.matching(condition, agents)
		found.open = found.open || open(condition)
	}
	// In their order: ids with the same nodes are counted as one group.
	for _, id := range slices.Sorted(maps.Keys(agents)) {
		one, listed := a.agent(id)
		if len(found.conditions) != 0 {
			if found.has == nil {
				found.has = map[subject.ID]bool{}
			}
			found.has[subject.ID(id)] = true
		}
		if listed && one.banned {
			found.banned = append(found.banned, subject.ID(id))
			continue
		}
		found.nodes = append(found.nodes, subject.ID(id))
		found.listed = append(found.listed, listed)
		found.expires = append(found.expires, one.expires)
	}
	if len(parents) == 1 && len(found.conditions) != 0 {
		a.shared.Store(parents[0], found)
	}
	return found
}

// climb follows parents up to agents.
func (a *atlas) climb(id uint32, seen map[uint32]bool, agents map[string]bool, found *reach) {
	if seen[id] {
		return
	}
	seen[id] = true
	if text := a.names[id]; strings.HasPrefix(text, a.prefix) {
		agents[text] = true
	}
	for _, one := range a.rows[a.first[id]:a.first[id+1]] {
		if one.condition != 0 {
			found.conditions = append(found.conditions, a.conditions[one.condition-1])
			continue
		}
		a.climb(one.parent, seen, agents, found)
	}
}

// matching adds the agents that have every one of the selectors. None at all is nobody's: SPIRE takes
// an alias without selectors for one that matches nothing.
func (a *atlas) matching(condition []wire.Selector, agents map[string]bool) {
	if len(condition) == 0 {
		return
	}
	fewest := a.bearing(condition[0])
	for _, selector := range condition[1:] {
		if bearers := a.bearing(selector); len(bearers) < len(fewest) {
			fewest = bearers
		}
	}
	for _, id := range fewest {
		if one, _ := a.agent(id); hasAll(one.selectors, condition) {
			agents[id] = true
		}
	}
}

// open reports whether the selectors may be those of an agent that something else than attestd's node
// attestor attested: SPIRE gives each attestor's selectors its name for a type.
func open(condition []wire.Selector) bool {
	return len(condition) != 0 &&
		!slices.ContainsFunc(condition, func(one wire.Selector) bool { return one.Type == pluginType })
}

// hasAll reports whether each of the selectors that are wanted is there.
func hasAll(has, want []wire.Selector) bool {
	for _, one := range want {
		found := false
		for _, other := range has {
			if found = one == other; found {
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}
