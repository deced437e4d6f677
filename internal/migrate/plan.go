package migrate

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
)

// EntryPrefix begins the ids of entries that are made here: attestd may hold those.
const EntryPrefix = "attestd."

// Wish says what a plan is made for.
type Wish struct {
	// Nodes are the ids of agents as they are, and as they will be with attestd.
	Nodes map[string]string
	// Selectors of attestd's that nodes must have for what aliases are for; at least one.
	Selectors []wire.Selector
	// Aliases are the SPIFFE IDs of those that are planned; empty where there is one alone.
	Aliases []string
}

// Agent is an agent of SPIRE's in a plan.
type Agent struct {
	ID string `json:"id"`
	// Type of its attestation; Next is its id with attestd, empty where nobody said.
	Type string `json:"type"`
	Next string `json:"next,omitempty"`
	// Entries is how many have it for their parent.
	Entries int `json:"entries"`
}

// Plan is what to add so that agents can change their attestor one by one.
type Plan struct {
	// Agents are those of other attestors.
	Agents []Agent
	// Create are entries to add: aliases with attestd's selectors beside those with the old ones, and
	// copies of what hangs on one agent for the agent that it becomes.
	Create Entries
	// Lost are entries that the node will not get with attestd, since nobody said what it becomes.
	Lost []Entry
}

// Make plans. Entries that are there are not planned again, so that a plan can be made anew after each
// step.
//
// Errors: a [*attestd.CallerError] of class POLICY_DENY where several aliases would have the same
// nodes and nobody said so, of class MALFORMED where one is named that there is not.
func Make(world World, wish Wish) (Plan, error) {
	if len(wish.Selectors) == 0 {
		return Plan{}, errors.New("a plan needs selectors for aliases: an alias without one matches nobody")
	}
	if err := wish.known(world); err != nil {
		return Plan{}, err
	}
	plan := Plan{Create: Entries{Entries: []Entry{}}}
	var aliases []string
	below := map[string]int{}
	there := map[[2]string][]Entry{}
	for _, entry := range world.Entries {
		there[entry.place()] = append(there[entry.place()], entry)
	}
	for _, entry := range world.Entries {
		below[entry.ParentID]++
		next, lost := wish.beside(entry)
		switch {
		case lost:
			plan.Lost = append(plan.Lost, entry)
		case next.SPIFFEID != "" && !slices.ContainsFunc(there[next.place()], next.same):
			if next.alias() && !slices.Contains(aliases, next.SPIFFEID) {
				aliases = append(aliases, next.SPIFFEID)
			}
			there[next.place()] = append(there[next.place()], next)
			plan.Create.Entries = append(plan.Create.Entries, next)
		}
	}
	if len(aliases) > 1 && len(wish.Aliases) == 0 {
		return Plan{}, &attestd.CallerError{
			Class: attestd.ClassPolicyDeny,
			Hint:  "plan them one by one, each with its selectors: --alias " + aliases[0] + " --selector ...",
			Err: fmt.Errorf("%d aliases would have the same nodes, and each what the others alone may have: %s",
				len(aliases), attestd.Excerpt(strings.Join(aliases, " "), 400)),
		}
	}
	for _, agent := range world.Agents {
		if !isOurs(agent.ID) {
			plan.Agents = append(plan.Agents, Agent{
				ID: agent.ID, Type: agent.Type, Next: wish.Nodes[agent.ID], Entries: below[agent.ID],
			})
		}
	}
	return plan, nil
}

// known refuses an alias that SPIRE has not: its plan would be empty, and look as if all were done.
func (w Wish) known(world World) error {
	for _, name := range w.Aliases {
		if !slices.ContainsFunc(world.Entries, func(e Entry) bool { return e.alias() && e.SPIFFEID == name }) {
			return &attestd.CallerError{
				Class: attestd.ClassMalformed, Hint: "spire-server entry show -parentID spiffe://DOMAIN/spire/server",
				Err: fmt.Errorf("SPIRE has no alias %q", attestd.Excerpt(name, 120)),
			}
		}
	}
	return nil
}

// beside is the entry that stands beside this one for attestd; none where that one is it.
func (w Wish) beside(entry Entry) (next Entry, lost bool) {
	switch {
	case entry.alias() && entry.ours(), isOurs(entry.ParentID):
		return Entry{}, false
	case entry.alias() && len(w.Aliases) != 0 && !slices.Contains(w.Aliases, entry.SPIFFEID):
		return Entry{}, false
	case entry.alias():
		next = Entry{SPIFFEID: entry.SPIFFEID, ParentID: entry.ParentID, Selectors: slices.Clone(w.Selectors)}
	case isAgent(entry.ParentID) && w.Nodes[entry.ParentID] == "":
		return Entry{}, true
	case isAgent(entry.ParentID):
		next = entry
		next.ParentID = w.Nodes[entry.ParentID]
		next.Selectors = slices.Clone(entry.Selectors)
	default: // its parent is an alias, or what hangs on one
		return Entry{}, false
	}
	next.ID = ""
	if entry.ID != "" {
		next.ID = EntryPrefix + strings.TrimPrefix(entry.ID, EntryPrefix)
		if next.ID == entry.ID {
			next.ID = entry.ID + ".next"
		}
	}
	return next, false
}

func (e Entry) place() [2]string { return [2]string{e.SPIFFEID, e.ParentID} }

// same reports whether two entries are one for SPIRE: it takes no second one with the same SPIFFE ID,
// parent and selectors.
func (e Entry) same(other Entry) bool {
	return e.SPIFFEID == other.SPIFFEID && e.ParentID == other.ParentID &&
		hasAll(e.Selectors, other.Selectors) && hasAll(other.Selectors, e.Selectors)
}

// ParseNodes reads a list of agents' ids: as they are, a comma, and as they will be, one pair a line;
// lines that begin with # are left out.
//
// Errors: a [*attestd.CallerError] of class MALFORMED that names every line that will not do.
func ParseNodes(document []byte) (map[string]string, error) {
	nodes, becomes := map[string]string{}, map[string]int{}
	var problems []error
	lines := bufio.NewScanner(bytes.NewReader(document))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		wrong := func(format string, args ...any) {
			problems = append(problems, fmt.Errorf("line %d: %s", number, fmt.Sprintf(format, args...)))
		}
		old, next, pair := strings.Cut(line, ",")
		old, next = strings.TrimSpace(old), strings.TrimSpace(next)
		switch {
		case !pair || !isAgent(old) || isOurs(old):
			wrong("got %q, want an agent of another attestor, a comma, and the agent that it becomes",
				attestd.Excerpt(line, 120))
		case !isOurs(next) || strings.Contains(next, ","):
			wrong("%q is no agent of attestd's", attestd.Excerpt(next, 120))
		case nodes[old] != "":
			wrong("%s is named twice", attestd.Excerpt(old, 120))
		case becomes[next] != 0: // two machines that become one would share what each alone may have
			wrong("%s is what the agent of line %d becomes, too", attestd.Excerpt(next, 120), becomes[next])
		default:
			nodes[old], becomes[next] = next, number
		}
	}
	if err := lines.Err(); err != nil {
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, &attestd.CallerError{
			Class: attestd.ClassMalformed, Err: err,
			Hint: "one pair a line: spiffe://DOMAIN/spire/agent/OLD,spiffe://DOMAIN/spire/agent/attestd/tpm/...",
		}
	}
	return nodes, nil
}
