package spiretest_test

import (
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spiretest/asked"
)

// TestAMachineThatBootedSomethingElse: its PCRs are others, which it cannot hide when it is asked again,
// at a new start or because SPIRE forgot its agent and its selectors. Its score is up, and nothing is
// issued on it until it boots what it should.
func TestAMachineThatBootedSomethingElse(t *testing.T) {
	h := open(t, houseConfig{profile: fast})
	for _, row := range []struct {
		name, tpm string
		running   bool
	}{{"at a new start", "first", false}, {"while its agent runs", "second", true}} {
		t.Run(row.name, func(t *testing.T) {
			n := h.measuredNode(t, row.tpm, "memory")
			before := n.stands(t, attestd.StateTrusted)
			if !h.spire.selects(t, n, "measurement:golden") {
				t.Fatal("SPIRE knows the node without the name of what it booted")
			}
			if !row.running {
				n.agent.stop(t)
			}
			n.reboot(t, otherBoot())
			if row.running {
				// Its unit would start the agent anew with the machine; this one goes on over the boot.
				if _, err := h.spire.command(t, "agent", "evict", "-spiffeID", n.id); err != nil {
					t.Fatal(err)
				}
			} else {
				n.agent.run(t)
			}
			n.agent.awaitEnd(t, startLimit)
			if agent := h.spire.spireAgentOf(t, n.id); row.running && agent != nil {
				t.Errorf("SPIRE still knows the agent: %v", agent)
			}
			after := n.stands(t, attestd.StateSuspect)
			if after <= before || after < 70 {
				t.Errorf("the score was %d and is %d", before, after)
			}
			if answer := n.workload.ask(t, asked.Question{Do: asked.JWT, Audience: "shop"}); answer.OK {
				t.Errorf("a JWT-SVID on a machine that booted something else: %v", answer.Claims)
			}
			n.reboot(t, goldenBoot())
			claims := n.startAgain(t)(t).Claims
			if score, ok := claims["risk_score"].(float64); !ok || int(score) > before {
				t.Errorf("after the right boot a JWT-SVID says %v, and the score was %d", claims, before)
			}
			n.stands(t, attestd.StateTrusted)
			n.agent.stop(t)
		})
	}
}

// stands wants the machine to be in a state, and returns its score.
func (n *node) stands(t *testing.T, state attestd.State) int {
	t.Helper()
	subject, err := n.house.root.Subject(t.Context(), n.id)
	if err != nil {
		t.Fatal(err)
	}
	if subject.State != state {
		t.Errorf("the machine is %s, want %s: %+v", subject.State, state, subject.Risks)
	}
	return subject.Risk.Int()
}

// selects reports whether SPIRE knows the node's agent with a selector of attestd's.
func (s *spireServer) selects(t *testing.T, n *node, value string) bool {
	t.Helper()
	for _, one := range s.spireAgentOf(t, n.id).GetSelectors() {
		if one.GetType() == "attestd" && strings.EqualFold(one.GetValue(), value) {
			return true
		}
	}
	return false
}
