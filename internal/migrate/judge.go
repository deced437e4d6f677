package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
)

// Standing is what attestd's registry says of a node; the zero Standing is that it was never seen.
type Standing struct {
	State attestd.State
	Tier  attestd.Tier
}

func (s Standing) granted() bool {
	return s.State == attestd.StateTrusted && s.Tier.Verdict() == attestd.VerdictAccepted
}

// lacks says which of the selectors the node does not give, as far as they follow from the node.
func (s Standing) lacks(wants []wire.Selector) string {
	for _, one := range wants {
		kind, value, _ := strings.Cut(one.Value, ":")
		has := map[string]string{"tier": s.Tier.String(), "state": s.State.String()}[kind]
		if has != "" && has != value {
			return "has " + kind + ":" + has
		}
	}
	return ""
}

// Verdict is what enforcement would mean for one entry.
type Verdict struct {
	Entry    string `json:"entry"`
	SPIFFEID string `json:"spiffe_id"`
	// Granted says that a node of it is granted identities now.
	Granted bool `json:"granted"`
	// Nodes can obtain it, Good of them are granted identities. Reason says what is wrong with the first
	// of the others.
	Nodes  int    `json:"nodes"`
	Good   int    `json:"good"`
	Reason string `json:"reason,omitempty"`
}

// Judge says for every entry of a workload whom attestd would refuse under "unattested: deny", those
// that are refused first.
func Judge(world World, nodes map[string]Standing) []Verdict {
	verdicts := []Verdict{}
	above := newReach(world)
	for _, entry := range world.Entries {
		if entry.alias() {
			continue
		}
		verdicts = append(verdicts, judge(above, entry, nodes, nil))
	}
	slices.SortStableFunc(verdicts, func(a, b Verdict) int {
		return cmp.Or(cmp.Compare(number(a.Granted), number(b.Granted)), strings.Compare(a.SPIFFEID, b.SPIFFEID),
			strings.Compare(a.Entry, b.Entry))
	})
	return verdicts
}

func number(set bool) int {
	if set {
		return 1
	}
	return 0
}

// judge says it for one entry, whose nodes must have what of the selectors follows from the node.
func judge(above *reach, entry Entry, nodes map[string]Standing, wants []wire.Selector) Verdict {
	verdict, done := above.judged[entry.ParentID]
	verdict.Entry, verdict.SPIFFEID = entry.ID, entry.SPIFFEID
	if done {
		return verdict
	}
	for _, id := range above.nodes(entry.ParentID) {
		standing, known := nodes[id]
		reason := ""
		switch {
		case above.banned[id]:
			reason = "is banned in SPIRE"
		case !isOurs(id):
			reason = "is attested by another attestor"
		case !known:
			reason = "has not attested itself to attestd yet"
		case !standing.granted():
			reason = fmt.Sprintf("is %s, tier %s", standing.State, standing.Tier)
		default:
			reason = standing.lacks(wants)
		}
		verdict.Nodes++
		if reason == "" {
			verdict.Good++
			verdict.Granted = true
		} else if verdict.Reason == "" {
			verdict.Reason = id + " " + reason
		}
	}
	if verdict.Nodes == 0 {
		verdict.Reason = "no agent is, or matches, " + entry.ParentID
	}
	above.judged[entry.ParentID] = verdict
	return verdict
}

// Change is what enforcement does to one entry.
type Change struct {
	Entry Entry
	// Added are the selectors that it wants from now on.
	Added []wire.Selector
	// Refused says why it is left as it is; empty for an entry that is changed.
	Refused string
}

// Enforce adds selectors to the entries of workloads whose ids or SPIFFE IDs begin so. Those that no
// node could obtain afterwards are left as they are. Entries that want the selectors already are not in
// it.
func Enforce(
	world World, nodes map[string]Standing, prefix string, selectors []wire.Selector,
) []Change {
	changes := []Change{}
	above := newReach(world)
	for _, entry := range world.Entries {
		matches := strings.HasPrefix(entry.ID, prefix) || strings.HasPrefix(entry.SPIFFEID, prefix)
		if prefix == "" || entry.alias() || !matches || hasAll(entry.Selectors, selectors) {
			continue
		}
		change := Change{Entry: entry}
		change.Entry.Selectors = slices.Clone(entry.Selectors)
		for _, one := range selectors {
			if !slices.Contains(entry.Selectors, one) {
				change.Added = append(change.Added, one)
				change.Entry.Selectors = append(change.Entry.Selectors, one)
			}
		}
		if verdict := judge(above, entry, nodes, selectors); !verdict.Granted {
			change.Refused = verdict.Reason
		}
		changes = append(changes, change)
	}
	return changes
}

// ParseSelector reads a selector of attestd's, as in attestd:admitted:yes.
//
// Errors: a [*attestd.CallerError] of class MALFORMED.
func ParseSelector(text string) (wire.Selector, error) {
	kind, value, found := strings.Cut(text, ":")
	name, rest, _ := strings.Cut(value, ":")
	if !found || kind != ourType || name == "" || rest == "" || strings.ContainsAny(value, " \t\r\n") {
		return wire.Selector{}, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "as in attestd:admitted:yes or attestd:tier:low",
			Err: fmt.Errorf("%q is no selector of attestd's", attestd.Excerpt(text, 80)),
		}
	}
	return wire.Selector{Type: kind, Value: value}, nil
}
