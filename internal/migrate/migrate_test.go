package migrate_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/migrate"
	"github.com/attestd/attestd/internal/spire/wire"
)

const (
	domain   = "spiffe://example.org"
	server   = domain + "/spire/server"
	oldOne   = domain + "/spire/agent/x509pop/1111"
	oldTwo   = domain + "/spire/agent/join_token/2222"
	newOne   = domain + "/spire/agent/attestd/tpm/aaaa"
	newThree = domain + "/spire/agent/attestd/tpm/cccc"
	alias    = domain + "/alias/all"
)

func selector(text string) wire.Selector {
	kind, value, _ := strings.Cut(text, ":")
	return wire.Selector{Type: kind, Value: value}
}

func entry(id, spiffeID, parent string, selectors ...string) migrate.Entry {
	out := migrate.Entry{ID: id, SPIFFEID: domain + spiffeID, ParentID: parent}
	for _, one := range selectors {
		out.Selectors = append(out.Selectors, selector(one))
	}
	return out
}

// fleet has two agents of other attestors, and two that attest themselves by attestd already.
func fleet() migrate.World {
	web := entry("e-web", "/web", oldOne, "unix:uid:1")
	web.X509TTL, web.DNSNames, web.Hint, web.Federates = 300, []string{"web"}, "h", []string{"spiffe://example.com"}
	return migrate.World{
		Entries: []migrate.Entry{
			web, entry("e-db", "/db", oldTwo, "unix:uid:2"), entry("e-alias", "/alias/all", server, "x509pop:ca:1"),
			entry("e-shop", "/shop", alias, "unix:uid:3"), entry("attestd.done", "/done", newThree, "unix:uid:4"),
			entry("e-nested", "/nested", domain+"/shop", "unix:uid:5"),
		},
		Agents: []wire.Agent{
			{ID: oldOne, Type: "x509pop", Selectors: []wire.Selector{selector("x509pop:ca:1")}},
			{ID: oldTwo, Type: "join_token"}, {ID: newOne, Type: "attestd", Selectors: []wire.Selector{
				selector("attestd:tenant:blue")}},
			{ID: newThree, Type: "attestd"},
		},
	}
}

func wish() migrate.Wish {
	return migrate.Wish{
		Nodes: map[string]string{oldOne: newOne}, Selectors: []wire.Selector{selector("attestd:tenant:blue")},
	}
}

// TestAPlanOnlyAdds: aliases get a second entry, entries on one agent a copy for what it becomes, and
// what nobody has said is named.
func TestAPlanOnlyAdds(t *testing.T) {
	plan, err := migrate.Make(fleet(), wish())
	if err != nil {
		t.Fatal(err)
	}
	web := fleet().Entries[0]
	web.ID, web.ParentID = "attestd.e-web", newOne
	want := []migrate.Entry{web, entry("attestd.e-alias", "/alias/all", server, "attestd:tenant:blue")}
	if fmt.Sprint(plan.Create.Entries) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", plan.Create.Entries, want)
	}
	if len(plan.Lost) != 1 || plan.Lost[0].ID != "e-db" {
		t.Errorf("lost: %+v", plan.Lost)
	}
	agents := []migrate.Agent{
		{ID: oldOne, Type: "x509pop", Next: newOne, Entries: 1}, {ID: oldTwo, Type: "join_token", Entries: 1},
	}
	if !slices.Equal(plan.Agents, agents) {
		t.Errorf("agents: %+v", plan.Agents)
	}
	world := fleet()
	world.Entries = append(world.Entries, plan.Create.Entries...)
	again, err := migrate.Make(world, wish())
	if err != nil || len(again.Create.Entries) != 0 {
		t.Errorf("a plan that was carried out is made again: %+v, %v", again.Create, err)
	}
	if _, err := migrate.Make(fleet(), migrate.Wish{}); err == nil {
		t.Error("aliases without a selector are planned")
	}
}

// TestAliasesOfDifferentNodesDoNotBecomeOne: the same selectors beside two of them would give each of
// their nodes what the other's alone may have.
func TestAliasesOfDifferentNodesDoNotBecomeOne(t *testing.T) {
	world := fleet()
	world.Entries = append(world.Entries, entry("e-safe", "/alias/safe", server, "x509pop:ca:2"),
		entry("e-safe-too", "/alias/safe", server, "x509pop:ca:3"))
	_, err := migrate.Make(world, wish())
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != attestd.ClassPolicyDeny ||
		!strings.Contains(err.Error(), "/alias/all") || !strings.Contains(err.Error(), "/alias/safe") {
		t.Fatalf("got %v, want a refusal that names both", err)
	}
	names := func(aliases ...string) (created []string) {
		ask := wish()
		ask.Aliases = aliases
		plan, err := migrate.Make(world, ask)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range plan.Create.Entries {
			created = append(created, one.SPIFFEID)
		}
		return created
	}
	safe := domain + "/alias/safe"
	if got := names(safe); !slices.Equal(got, []string{domain + "/web", safe}) {
		t.Errorf("one is named, and planned are %v", got)
	}
	if got := names(safe, alias); !slices.Equal(got, []string{domain + "/web", alias, safe}) {
		t.Errorf("both are named, and planned are %v", got)
	}
	ask := wish()
	ask.Aliases = []string{domain + "/alias/none"}
	if _, err := migrate.Make(world, ask); !errors.As(err, &caller) {
		t.Errorf("an alias that there is none of: got %v", err)
	}
}

// TestWhoWouldBeRefused: of each entry, by what attestd's registry says of its nodes.
func TestWhoWouldBeRefused(t *testing.T) {
	world := fleet()
	world.Entries = append(world.Entries,
		entry("attestd.web", "/web", newOne, "unix:uid:1"), entry("e-none", "/none", domain+"/nobody", "unix:uid:9"),
		entry("attestd.alias", "/alias/all", server, "attestd:tenant:blue"))
	good := migrate.Standing{State: attestd.StateTrusted, Tier: attestd.TierLow}
	for _, row := range []struct {
		name  string
		nodes map[string]migrate.Standing
		// refused are entries with a part of the reason.
		refused map[string]string
	}{
		{"one has attested itself", map[string]migrate.Standing{newOne: good}, map[string]string{
			"e-web": "is attested by another attestor", "e-db": "is attested by another attestor",
			"e-none": "no agent is, or matches, " + domain + "/nobody", "attestd.done": "has not attested itself",
		}},
		{"it is quarantined", map[string]migrate.Standing{
			newOne: {State: attestd.StateQuarantined, Tier: attestd.TierLow}, newThree: good,
		}, map[string]string{
			"e-web": "another attestor", "e-db": "another attestor", "e-none": "no agent", "attestd.web": "is quarantined",
			"e-shop": "is quarantined, tier low", "e-nested": "is quarantined",
		}},
		{"its risk is high", map[string]migrate.Standing{
			newOne: {State: attestd.StateTrusted, Tier: attestd.TierHigh}, newThree: good,
		}, map[string]string{
			"e-web": "another", "e-db": "another", "e-none": "no agent", "attestd.web": "tier high", "e-shop": "tier high",
			"e-nested": "tier high",
		}},
	} {
		refused := 0
		for _, verdict := range migrate.Judge(world, row.nodes) {
			want, named := row.refused[verdict.Entry]
			if verdict.Granted == named || !strings.Contains(verdict.Reason, want) {
				t.Errorf("%s: %s: granted %v: %s", row.name, verdict.Entry, verdict.Granted, verdict.Reason)
			}
			if !verdict.Granted {
				refused++
			}
		}
		if refused != len(row.refused) {
			t.Errorf("%s: %d are refused, want %d", row.name, refused, len(row.refused))
		}
	}
	world.Agents[2].Banned = true
	for _, verdict := range migrate.Judge(world, map[string]migrate.Standing{newOne: good}) {
		if verdict.Entry == "attestd.web" && (verdict.Granted || !strings.Contains(verdict.Reason, "banned")) {
			t.Errorf("a banned agent is a way: %+v", verdict)
		}
	}
}

// TestEnforcementAddsSelectors to the entries that were named, and to none that would have no node then.
func TestEnforcementAddsSelectors(t *testing.T) {
	world := fleet()
	world.Entries = append(world.Entries, entry("attestd.web", "/web", newOne, "unix:uid:1"),
		entry("attestd.has", "/has", newOne, "unix:uid:1", "attestd:admitted:yes", "attestd:tier:low"),
		entry("attestd.alias", "/alias/all", server, "attestd:tenant:blue"))
	nodes := map[string]migrate.Standing{newOne: {State: attestd.StateTrusted, Tier: attestd.TierLow}}
	wants := []wire.Selector{selector("attestd:admitted:yes"), selector("attestd:tier:low")}
	changes := migrate.Enforce(world, nodes, "attestd.", wants)
	if len(changes) != 2 || changes[0].Entry.ID != "attestd.done" || changes[0].Refused == "" ||
		changes[1].Entry.ID != "attestd.web" || changes[1].Refused != "" {
		t.Fatalf("got %+v", changes)
	}
	got := changes[1]
	if !slices.Equal(got.Added, wants) || !slices.Equal(got.Entry.Selectors,
		append([]wire.Selector{selector("unix:uid:1")}, wants...)) {
		t.Errorf("got %+v", got)
	}
	if got := migrate.Enforce(world, nodes, domain+"/web", wants); len(got) != 2 {
		t.Errorf("by the SPIFFE ID: %+v", got)
	}
	if got := migrate.Enforce(world, nodes, "", wants); len(got) != 0 {
		t.Errorf("without a prefix: %+v", got)
	}
	nodes[newOne] = migrate.Standing{State: attestd.StateTrusted, Tier: attestd.TierMedium}
	if got := migrate.Enforce(world, nodes, "attestd.web", wants); len(got) != 1 ||
		!strings.Contains(got[0].Refused, "has tier:medium") {
		t.Errorf("a tier that the node does not have: %+v", got)
	}
}

// TestSavedListsAreRead as SPIRE's commands print them, and nothing else is.
func TestSavedListsAreRead(t *testing.T) {
	entries, err := migrate.ParseEntries([]byte(`{"entries":[{"id":"e1","spiffe_id":{"trust_domain":"example.org",
		"path":"/web"},"parent_id":{"trust_domain":"example.org","path":"/spire/agent/x509pop/1111"},"selectors":[
		{"type":"unix","value":"uid:1"}],"x509_svid_ttl":300,"jwt_svid_ttl":0,"federates_with":[],"admin":false,
		"downstream":false,"expires_at":"0","dns_names":["web"],"revision_number":"3","store_svid":false,"hint":"h",
		"created_at":"1700000000"}],"next_page_token":""}`))
	if err != nil || len(entries) != 1 || entries[0].ParentID != oldOne || entries[0].X509TTL != 300 ||
		entries[0].DNSNames[0] != "web" || entries[0].Selectors[0] != selector("unix:uid:1") || entries[0].Hint != "h" {
		t.Errorf("got %+v, %v", entries, err)
	}
	agents, err := migrate.ParseAgents([]byte(`{"agents":[{"id":{"trust_domain":"example.org",
		"path":"/spire/agent/x509pop/1111"},"attestation_type":"x509pop","x509svid_serial_number":"7",
		"x509svid_expires_at":"1700000000","selectors":[{"type":"x509pop","value":"ca:1"}],"banned":true,
		"can_reattest":true}],"next_page_token":""}`))
	if err != nil || len(agents) != 1 || agents[0].ID != oldOne || !agents[0].Banned || agents[0].Type != "x509pop" ||
		agents[0].ExpiresAt != 1700000000 {
		t.Errorf("got %+v, %v", agents, err)
	}
	for _, document := range []string{
		"", "{", "[]", `{"items":[]}`, `{"entries":[{"id":7}]}`, `{"entries":[{"id":"e"}]}`,
		`{"entries":[{"id":"e","made_up":1}]}`,
	} {
		if _, err := migrate.ParseEntries([]byte(document)); !malformed(err) {
			t.Errorf("entries %q: %v", document, err)
		}
	}
	for _, document := range []string{"", `{"agents":[{}]}`, `{"agents":null}`, `{"entries":[]}`} {
		if _, err := migrate.ParseAgents([]byte(document)); !malformed(err) {
			t.Errorf("agents %q: %v", document, err)
		}
	}
}

func malformed(err error) bool {
	var caller *attestd.CallerError
	return errors.As(err, &caller) && caller.Class == attestd.ClassMalformed && caller.Hint != ""
}

func TestListsOfNodesAreStrict(t *testing.T) {
	nodes, err := migrate.ParseNodes([]byte("# moved on Monday\n\n" + oldOne + ", " + newOne + "\n"))
	if err != nil || len(nodes) != 1 || nodes[oldOne] != newOne {
		t.Errorf("got %v, %v", nodes, err)
	}
	for name, text := range map[string]string{
		"one word": oldOne, "no agent": domain + "/web," + newOne, "of attestd already": newOne + "," + newThree,
		"to another attestor": oldOne + "," + oldTwo, "three": oldOne + "," + newOne + "," + newThree,
		"twice":               oldOne + "," + newOne + "\n" + oldOne + "," + newThree,
		"two that become one": oldOne + "," + newOne + "\n" + oldTwo + "," + newOne,
	} {
		if _, err := migrate.ParseNodes([]byte(text)); !malformed(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"", "unix:uid:1", "attestd:", "attestd:tier", "attestd:tier:", "attestd:a b:c"} {
		if _, err := migrate.ParseSelector(text); !malformed(err) {
			t.Errorf("selector %q: %v", text, err)
		}
	}
	if got, err := migrate.ParseSelector("attestd:tier:low"); err != nil || got != selector("attestd:tier:low") {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestAFleetIsPlannedInSeconds: 20,000 agents with 10 entries each, half of them over one alias.
func TestAFleetIsPlannedInSeconds(t *testing.T) {
	world := migrate.World{Entries: []migrate.Entry{entry("a", "/alias/all", server, "x509pop:ca:1")}}
	wishes := wish()
	for n := range 20_000 {
		id := fmt.Sprintf("%s/spire/agent/x509pop/%d", domain, n)
		world.Agents = append(world.Agents, wire.Agent{ID: id, Selectors: []wire.Selector{selector("x509pop:ca:1")}})
		wishes.Nodes[id] = fmt.Sprintf("%s/spire/agent/attestd/tpm/%d", domain, n)
		for e := range 10 {
			parent := id
			if e%2 == 0 {
				parent = alias
			}
			world.Entries = append(world.Entries, entry(fmt.Sprintf("e%d-%d", n, e), fmt.Sprintf("/w/%d/%d", n, e), parent,
				"unix:uid:1"))
		}
	}
	began := time.Now()
	plan, err := migrate.Make(world, wishes)
	if err != nil || len(plan.Create.Entries) != 100_001 {
		t.Fatalf("%d entries, %v", len(plan.Create.Entries), err)
	}
	if got := migrate.Judge(world, nil); len(got) != 200_000 || got[0].Granted {
		t.Errorf("%d verdicts", len(got))
	}
	took := time.Since(began)
	t.Logf("planned and judged in %s", took)
	if took > 20*time.Second {
		t.Error("that is too long")
	}
}
