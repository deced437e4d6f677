package issuance_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

func observed(c *issuance.Config) { c.Unattested = issuance.Observe }

const (
	alias    = "spiffe://example.org/alias"
	stranger = "spiffe://example.org/spire/agent/x509pop/aaaa"
)

// attested says what a JWT-SVID of the workload says of it.
func (w *world) attested() any {
	w.Helper()
	ask := jwt(workload)
	ask.ExpiresAt = w.clock().Unix() + 300
	return w.granted(ask).Claims["attested"]
}

// TestAnAliasIsNotJudgedWithoutTheAgents: who matches an alias is known from the agents of a map. Where
// there is none, as after a start, or it is too old, an answer on entries alone says nothing of those.
func TestAnAliasIsNotJudgedWithoutTheAgents(t *testing.T) {
	w := newWorld(t, observed)
	w.publish(nil, 1)
	trusted := string(node(1).ID)
	w.entries[workload] = []wire.Entry{entry(workload, trusted), entry(workload, alias)}
	w.entries[alias] = []wire.Entry{entry(alias, server, wire.Selector{Type: "x509pop", Value: "subject:cn:a"})}
	_, err := w.office.Grant(context.Background(), jwt(workload))
	w.undecided(err)

	must(t, w.office.SetMap(wire.Map{At: start, Agents: []wire.Agent{{ID: trusted}}}))
	if w.attested() != true {
		t.Error("with a map: not granted as attested")
	}
	w.wait(61 * time.Second)
	_, err = w.office.Grant(context.Background(), wire.GrantRequest{
		Kind: wire.GrantWorkloadJWT, ID: workload, Audience: []string{"db"}, ExpiresAt: w.clock().Unix() + 300,
	})
	w.undecided(err)
}

// TestAChainWithoutAnEndIsNotJudged: what lies behind the last level that is asked for is not known.
func TestAChainWithoutAnEndIsNotJudged(t *testing.T) {
	w := newWorld(t, observed)
	w.publish(nil, 1)
	below := workload
	w.entries[workload] = []wire.Entry{entry(workload, string(node(1).ID))}
	for level := range 12 {
		above := alias + "/" + string(rune('a'+level))
		w.entries[below] = append(w.entries[below], entry(below, above))
		below = above
	}
	w.entries[below] = []wire.Entry{entry(below, stranger)}
	must(t, w.office.SetMap(wire.Map{At: start}))
	_, err := w.office.Grant(context.Background(), jwt(workload))
	w.undecided(err)
}

// TestAStrangerThatAttestedSinceTheMapCounts: attestd does not know its selectors, so it may match every
// alias that asks for none of attestd's.
func TestAStrangerThatAttestedSinceTheMapCounts(t *testing.T) {
	for name, row := range map[string]struct {
		condition wire.Selector
		want      bool
	}{
		"an alias that it may match": {wire.Selector{Type: "x509pop", Value: "subject:cn:a"}, false},
		"one that it cannot match":   {selector("tier:low"), true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, observed)
			w.publish(nil, 1)
			trusted := string(node(1).ID)
			whole := wire.Map{
				At: start, Agents: []wire.Agent{{ID: trusted}},
				Entries: []wire.Entry{
					entry(workload, trusted), entry(workload, alias), entry(alias, server, row.condition),
				},
			}
			must(t, w.office.SetMap(whole))
			if w.attested() != true {
				t.Fatal("not attested before")
			}
			w.granted(agentSVID(stranger, []byte("k")))
			if got := w.attested(); got != row.want {
				t.Errorf("got attested %v, want %v", got, row.want)
			}
			// Once SPIRE's map has the agent, its selectors decide.
			w.wait(20 * time.Second)
			whole.At = w.clock()
			whole.Agents = append(whole.Agents, wire.Agent{ID: stranger, Type: "x509pop"})
			must(t, w.office.SetMap(whole))
			w.granted(agentSVID(stranger, []byte("k2")))
			if w.attested() != true {
				t.Error("an agent that renews, and matches nothing, counts")
			}
		})
	}
}

// TestWhoIsNoAgentSpeaksForNoWorkload: a machine that is attested without SPIRE, or whose agent is gone,
// obtains nothing, so it does not keep an id alive for a node that is held.
func TestWhoIsNoAgentSpeaksForNoWorkload(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(nil, 1, 2)
	bad, gone := string(node(1).ID), string(node(2).ID)
	entries := []wire.Entry{entry(workload, bad), entry(workload, gone)}
	w.hold(subject.ID(bad))
	for name, agents := range map[string][]wire.Agent{
		"no agent":          {{ID: bad}},
		"an agent that was": {{ID: bad}, {ID: gone, ExpiresAt: start.Add(-time.Minute).Unix()}},
	} {
		must(t, w.office.SetMap(wire.Map{At: start, Entries: entries, Agents: agents}))
		t.Log(name)
		w.refused(jwt(workload), attestd.ClassPolicyDeny)
		w.refused(x509SVID(workload), attestd.ClassPolicyDeny)
	}
	must(t, w.office.SetMap(wire.Map{At: start, Entries: entries, Agents: []wire.Agent{
		{ID: bad}, {ID: gone, ExpiresAt: start.Add(time.Minute).Unix()},
	}}))
	w.granted(jwt(workload))
}

// TestAMeasurementIsThatOfTheEvidenceThatCounts: a machine that started something else, and said so to
// attestd but not through SPIRE, is not given the name of what it ran before.
func TestAMeasurementIsThatOfTheEvidenceThatCounts(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(nil, 1)
	w.on(1)
	shows := func(name string, at time.Time) {
		w.office.Recall(node(1).ID, [32]byte{1}, attestd.Appraisal{
			Verdict: attestd.VerdictAccepted, Claims: []byte(`{}`), At: at,
			Checks: []attestd.Check{{ID: "measurement/known", Result: attestd.ResultPass, Got: name + " / v1"}},
		})
	}
	measurement := func(want any) {
		t.Helper()
		if got := w.granted(jwt(workload)).Claims["measurement"]; got != want {
			t.Errorf("got measurement %v, want %v", got, want)
		}
		got := w.said(w.granted(x509SVID(workload))).Measurement
		if want == nil && got != "" || want != nil && got != want {
			t.Errorf("the extension says %q, want %v", got, want)
		}
	}
	shows("golden", start.Add(500*time.Millisecond)) // the index has whole seconds
	measurement("golden")
	shows("old", start.Add(-time.Hour))
	measurement("golden")
	w.publish(func(s *subject.Subject) { s.EvidenceAt, s.Floor = start.Add(time.Minute), attestd.Risk(60) }, 1)
	measurement(nil)
	shows("legacy", start.Add(time.Minute))
	measurement("legacy")
}

// TestIDsOfOneAliasShareItsAgents: what each of them takes must not grow with the fleet.
func TestIDsOfOneAliasShareItsAgents(t *testing.T) {
	const agents, ids = 5_000, 200
	w := newWorld(t, nil)
	whole := wire.Map{At: start, Entries: []wire.Entry{entry(alias, server, selector("tier:low"))}}
	for n := range agents {
		whole.Agents = append(whole.Agents, wire.Agent{
			ID: string(node(n).ID), Selectors: []wire.Selector{selector("tier:low")},
		})
	}
	name := func(n int) string { return fmt.Sprintf("%s/%d", workload, n) }
	for n := range ids {
		of := entry(name(n), alias)
		of.X509TTL = n
		whole.Entries = append(whole.Entries, of, of) // two kinds of pods
	}
	must(t, w.office.SetMap(whole))
	before := heap()
	for n := range ids {
		if got, known := w.office.Nodes(name(n)); len(got) != agents || !known {
			t.Fatalf("%s: got %d agents", name(n), len(got))
		}
	}
	if used := int64(heap()) - int64(before); used > 8<<20 { //nolint:gosec // a heap
		t.Errorf("%d ids of one alias take %d MiB, want at most 8", ids, used>>20)
	}
	runtime.KeepAlive(w)
}

// TestAnAliasCanNameAnAgent: SPIRE adds each agent's id to its selectors where agent_spiffe_id_as_selector
// says so, which attestd is not told.
func TestAnAliasCanNameAnAgent(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(nil, 1)
	must(t, w.office.SetMap(wire.Map{At: start, Entries: []wire.Entry{
		entry(workload, alias),
		entry(alias, server, wire.Selector{Type: "spiffe_id", Value: string(node(1).ID)}, selector("tier:low")),
	}}))
	w.refused(jwt(workload), attestd.ClassPolicyDeny)
	issuance.Learn(w.office, node(2).ID, []string{"tier:low"})
	w.refused(jwt(workload), attestd.ClassPolicyDeny)
	issuance.Learn(w.office, node(1).ID, []string{"tier:low"})
	w.granted(jwt(workload))
}
