package issuance_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

func selector(value string) wire.Selector { return wire.Selector{Type: "attestd", Value: value} }

// TestWhoCanObtainAnID: directly, through aliases, over levels; and nobody through what SPIRE does not
// follow.
func TestWhoCanObtainAnID(t *testing.T) {
	const alias, middle = "spiffe://example.org/alias", "spiffe://example.org/middle"
	a, b, c := string(node(1).ID), string(node(2).ID), string(node(3).ID)
	agents := []wire.Agent{
		{ID: a, Selectors: []wire.Selector{selector("tier:low"), selector("tenant:blue")}},
		{ID: b, Selectors: []wire.Selector{selector("tier:low")}},
		{ID: c, Selectors: []wire.Selector{{Type: "other", Value: "tier:low"}}},
	}
	for name, row := range map[string]struct {
		entries []wire.Entry
		want    []string
	}{
		"its parent": {[]wire.Entry{entry(workload, a)}, []string{a}},
		"each of several": {[]wire.Entry{entry(workload, a), entry(workload, b)},
			[]string{a, b}},
		"those with all selectors of an alias": {[]wire.Entry{entry(workload, alias),
			entry(alias, server, selector("tier:low"), selector("tenant:blue"))}, []string{a}},
		"those with the one selector": {[]wire.Entry{entry(workload, alias),
			entry(alias, server, selector("tier:low"))}, []string{a, b}},
		"nobody, of an alias without selectors": {[]wire.Entry{entry(workload, alias),
			entry(alias, server)}, nil},
		"over levels": {[]wire.Entry{entry(workload, middle), entry(middle, alias),
			entry(alias, server, selector("tenant:blue"))}, []string{a}},
		"the parent of a parent": {[]wire.Entry{entry(workload, middle), entry(middle, c)}, []string{c}},
		"nobody, in a ring":      {[]wire.Entry{entry(workload, middle), entry(middle, workload)}, nil},
		"nobody, of itself":      {[]wire.Entry{entry(workload, workload)}, nil},
		"nobody gets an alias": {[]wire.Entry{
			entry(workload, server, selector("tier:low"))}, nil},
		"what an alias is the parent of, and it is itself": {[]wire.Entry{
			entry(workload, server, selector("tenant:blue")), entry(workload, c)}, []string{c}},
		"a selector's type counts": {[]wire.Entry{entry(workload, alias),
			entry(alias, server, wire.Selector{Type: "other", Value: "tier:low"})}, []string{c}},
		"an agent that SPIRE never saw": {[]wire.Entry{entry(workload, string(node(9).ID))},
			[]string{string(node(9).ID)}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			must(t, w.office.SetMap(wire.Map{Entries: row.entries, Agents: agents}))
			got, known := w.office.Nodes(workload)
			want := append([]string(nil), row.want...)
			slices.Sort(want)
			if fmt.Sprint(got) != fmt.Sprint(want) || !known {
				t.Errorf("got %v, known %t, want %v", got, known, want)
			}
		})
	}
	w := newWorld(t, nil)
	if got, known := w.office.Nodes(workload); len(got) != 0 || known {
		t.Errorf("before any map: %v, %t", got, known)
	}
}

// crawl is what SPIRE does for one agent, from its side (pkg/server/cache/entrycache of SPIRE 1.15.3).
func crawl(whole wire.Map, agent wire.Agent) map[string]bool {
	gets, seen := map[string]bool{}, map[string]bool{}
	var visit func(parent string)
	visit = func(parent string) {
		if seen[parent] {
			return
		}
		seen[parent] = true
		for _, one := range whole.Entries {
			if one.ParentID == parent && parent != server {
				gets[one.SPIFFEID] = true
				visit(one.SPIFFEID)
			}
		}
	}
	visit(agent.ID)
	for _, one := range whole.Entries {
		matches := one.ParentID == server && len(one.Selectors) != 0
		for _, want := range one.Selectors {
			matches = matches && slices.Contains(agent.Selectors, want)
		}
		if matches {
			visit(one.SPIFFEID)
		}
	}
	return gets
}

// TestTheMapAgreesWithWhatSPIREDoes: from the id's side the agents are those that get it from theirs.
func TestTheMapAgreesWithWhatSPIREDoes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, nil)
		ids := []string{"spiffe://example.org/a", "spiffe://example.org/b", "spiffe://example.org/c", workload, server}
		parents := append([]string{server, server}, ids...)
		values := []string{"x:1", "x:2", "x:3"}
		selectors := func() (out []wire.Selector) {
			for _, value := range values {
				if rapid.Bool().Draw(rt, value) {
					out = append(out, selector(value))
				}
			}
			return out
		}
		var whole wire.Map
		for n := range 3 {
			id := string(node(n).ID)
			parents = append(parents, id)
			whole.Agents = append(whole.Agents, wire.Agent{ID: id, Selectors: selectors()})
		}
		for range rapid.IntRange(0, 9).Draw(rt, "entries") {
			whole.Entries = append(whole.Entries, entry(rapid.SampledFrom(ids).Draw(rt, "id"),
				rapid.SampledFrom(parents).Draw(rt, "parent"), selectors()...))
		}
		if err := w.office.SetMap(whole); err != nil {
			rt.Fatal(err)
		}
		for _, id := range ids {
			var want []subject.ID
			for _, agent := range whole.Agents {
				if crawl(whole, agent)[id] {
					want = append(want, subject.ID(agent.ID))
				}
			}
			slices.Sort(want)
			got, known := w.office.Nodes(id)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				rt.Fatalf("%s can be issued to %v, want %v of %+v", id, got, want, whole)
			}
			if has := slices.ContainsFunc(whole.Entries, func(e wire.Entry) bool { return e.SPIFFEID == id }); has != known {
				rt.Fatalf("%s is known: %t, want %t", id, known, has)
			}
		}
	})
}

// TestALargeMapComesInParts: it counts when it is whole, and parts of two maps are no map.
func TestALargeMapComesInParts(t *testing.T) {
	w := newWorld(t, nil)
	part := func(number, of int, at int64, on int) error {
		return w.office.SetMap(wire.Map{
			Part: number, Parts: of, At: start.Add(0).AddDate(0, 0, int(at)),
			Entries: []wire.Entry{entry(workload, string(node(on).ID))},
		})
	}
	nodes := func() int { got, _ := w.office.Nodes(workload); return len(got) }
	must(t, part(1, 3, 1, 1))
	must(t, part(2, 3, 1, 2))
	if nodes() != 0 {
		t.Error("parts count before the last has come")
	}
	must(t, part(3, 3, 1, 3))
	if nodes() != 3 {
		t.Errorf("the map has %d nodes, want 3", nodes())
	}
	for name, send := range map[string]func() error{
		"a part is missing":     func() error { _ = part(1, 3, 2, 1); return part(3, 3, 2, 1) },
		"another map's part":    func() error { _ = part(1, 3, 2, 1); return part(2, 3, 3, 1) },
		"another number of all": func() error { _ = part(1, 3, 2, 1); return part(2, 2, 2, 1) },
		"it begins in between":  func() error { return part(2, 3, 2, 1) },
		"part 0 of 2":           func() error { return part(0, 2, 2, 1) },
		"part 3 of 2":           func() error { return part(3, 2, 2, 1) },
		"part 1 of 0":           func() error { return part(1, 0, 2, 1) },
		"too many parts":        func() error { return part(1, 1<<12+1, 2, 1) },
		"after a mistake it begins anew": func() error {
			_ = part(1, 2, 2, 1)
			_ = part(1, 0, 2, 1)
			return part(2, 2, 2, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.TB = t
			w.failed(send(), "MALFORMED")
			if nodes() != 3 {
				t.Error("the map that is whole is gone")
			}
		})
	}
	must(t, part(1, 1, 4, 1))
	if nodes() != 1 {
		t.Error("a map of one part is none")
	}
}

// TestFreshNodesAreEntitledBeforeSPIRESaysSo: its map is older than their attestation.
func TestFreshNodesAreEntitledBeforeSPIRESaysSo(t *testing.T) {
	const alias = "spiffe://example.org/alias"
	w := newWorld(t, nil)
	w.publish(nil, 1)
	must(t, w.office.SetMap(wire.Map{At: start, Entries: []wire.Entry{
		entry(workload, alias), entry(alias, server, selector("tier:low"), selector("tenant:blue")),
	}}))
	w.refused(jwt(workload), "POLICY_DENY")
	issuance.Learn(w.office, node(1).ID, []string{"tier:low", "tenant:blue"})
	w.granted(jwt(workload))
	if w.outstanding(node(1).ID) != 1 {
		t.Error("the grant is not counted against the node")
	}
	whole := wire.Map{At: start, Agents: []wire.Agent{{
		ID: string(node(1).ID), Selectors: []wire.Selector{selector("tier:low"), selector("tenant:blue")},
	}}, Entries: []wire.Entry{
		entry(workload, alias), entry(alias, server, selector("tier:low"), selector("tenant:blue")),
		entry(alias, server, selector("tenant:blue")),
	}}
	must(t, w.office.SetMap(whole)) // now SPIRE has it too, and by two aliases
	w.granted(jwt(workload))
	if n := w.outstanding(node(1).ID); n != 2 {
		t.Errorf("two grants are counted as %d against the node", n)
	}
	whole.Agents, whole.Entries = nil, whole.Entries[:2]
	must(t, w.office.SetMap(whole))
	// One has the one selector and another the other: nobody has both.
	w.publish(nil, 2)
	issuance.Learn(w.office, node(1).ID, []string{"tier:low", "tenant:red"})
	issuance.Learn(w.office, node(2).ID, []string{"tier:medium", "tenant:blue"})
	w.refused(jwt(workload), "POLICY_DENY")
	issuance.Learn(w.office, node(1).ID, []string{"tier:medium", "tenant:blue"})
	w.refused(jwt(workload), "POLICY_DENY")
	issuance.Learn(w.office, node(1).ID, []string{"tier:low", "tenant:blue"})
	w.wait(issuance.Slack)
	must(t, w.office.SetMap(wire.Map{At: w.clock(), Entries: []wire.Entry{
		entry(workload, alias), entry(alias, server, selector("tier:low"), selector("tenant:blue")),
	}}))
	w.refused(jwt(workload), "POLICY_DENY") // by now SPIRE would have it, and has not
}

// TestANodeThatWasReleasedIsEntitledAgain: when it has attested, though SPIRE's map still bans it.
func TestANodeThatWasReleasedIsEntitledAgain(t *testing.T) {
	w := newWorld(t, func(c *issuance.Config) { c.Unattested = issuance.Observe })
	w.publish(nil, 1)
	must(t, w.office.SetMap(wire.Map{
		At: start, Entries: []wire.Entry{entry(workload, string(node(1).ID))},
		Agents: []wire.Agent{{ID: string(node(1).ID), Banned: true}},
	}))
	w.refused(jwt(workload), "POLICY_DENY")
	issuance.Learn(w.office, node(1).ID, []string{"tier:low"})
	w.granted(jwt(workload))
}

// TestWorkloadsAreNoAliases: who ought to have a record of the inventory.
func TestWorkloadsAreNoAliases(t *testing.T) {
	const alias, both, middle = "spiffe://example.org/alias", "spiffe://example.org/both", "spiffe://example.org/middle"
	w := newWorld(t, nil)
	if got := w.office.Workloads(); len(got) != 0 {
		t.Errorf("before there is a map: %q", got)
	}
	must(t, w.office.SetMap(wire.Map{Entries: []wire.Entry{
		entry(workload, alias), entry(workload, string(node(1).ID)), entry(alias, server, selector("tier:low")),
		entry(both, server, selector("tier:low")), entry(both, middle), entry(middle, string(node(2).ID)),
	}}))
	want := []string{both, middle, workload}
	slices.Sort(want)
	if got := w.office.Workloads(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	must(t, w.office.SetMap(wire.Map{Entries: []wire.Entry{entry(workload, string(node(1).ID))}}))
	if got := w.office.Workloads(); !slices.Equal(got, []string{workload}) {
		t.Errorf("got %q", got)
	}
}
