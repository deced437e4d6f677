package spiretest_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/attestd/attestd"
)

// Nodes whose plugins are killed take turns: each start of an agent is a new key, and one more than two
// of them within a minute makes its machine a suspect.
const (
	mostNodes   = 50
	betweenKeys = 61 * time.Second
)

// TestANodesPluginsAreKilledWhileItAttests: SPIRE's agent tries again by itself, or its unit starts it.
//
// neg: 191
func TestANodesPluginsAreKilledWhileItAttests(t *testing.T) {
	rounds := kills(t)
	h := open(t, houseConfig{profile: fast})
	nodes := h.fleetOf(t, min(rounds, mostNodes))
	started := make([]time.Time, len(nodes))
	var back spread
	met := map[string]int{}
	for round := range rounds {
		turn := round % len(nodes)
		if wait := betweenKeys - time.Since(started[turn]); wait > 0 && !started[turn].IsZero() {
			time.Sleep(wait)
		}
		started[turn] = time.Now()
		plugin := []string{"nodeattestor-agent", "keymanager", "workloadattestor"}[round%3]
		t.Run(fmt.Sprintf("%d %s", round+1, plugin), func(t *testing.T) {
			took, attested := nodes[turn].killedWhileItAttests(t, plugin)
			back = append(back, took)
			if !attested {
				met[plugin]++
			}
		})
	}
	if len(back) < rounds {
		t.Fatalf("%d of %d kills were measured", len(back), rounds)
	}
	t.Logf("a node's plugins, %d kills, of which met an attestation %v; the first JWT-SVID %s", rounds, met, back)
	if met["nodeattestor-agent"] == 0 || met["keymanager"] == 0 {
		t.Error("no kill met an attestation")
	}
}

// killedWhileItAttests starts the node and kills one of its plugins. It returns the time to its workload's
// first JWT-SVID, and whether the node was attested before the kill.
func (n *node) killedWhileItAttests(t *testing.T, plugin string) (took time.Duration, attested bool) {
	t.Helper()
	n.workload = n.agent.workload(t, workloadProgram.file(t))
	began := time.Now()
	wait := n.startAgain(t)
	// It is killed as soon as it is there: before, in or after the exchange.
	if !until(5*time.Second, func() bool { return len(n.agent.children(pluginProgram.file(t), plugin)) == 2 }) {
		t.Errorf("%s did not start", plugin)
	}
	time.Sleep(rand.N(120 * time.Millisecond)) //nolint:gosec // where a kill falls is no secret
	attested = n.agent.attested()
	killChild(t, n.agent.process, plugin)
	answer := wait(t)
	if answer.Claims["attested"] != true {
		t.Errorf("after the kill of %s a JWT-SVID says %v", plugin, answer.Claims)
	}
	if subject, err := n.house.root.Subject(t.Context(), n.id); err != nil ||
		subject.State != attestd.StateTrusted {
		t.Errorf("after the kill of %s the machine is %s, %v", plugin, subject.State, err)
	}
	n.agent.stop(t)
	return answer.At.Sub(began), attested
}
