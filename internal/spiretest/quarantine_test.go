package spiretest_test

import (
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/spiretest/asked"
)

// TestQuarantineTakesIdentitiesBack, and a release after a rebirth gives them again.
func TestQuarantineTakesIdentitiesBack(t *testing.T) {
	h := open(t, houseConfig{profile: fast})
	n := h.measuredNode(t, "first", "memory")
	for round := range 3 {
		if round > 0 {
			n.revive(t)
		}
		n.quarantined(t)
	}
}

// outcome is how soon a quarantine took effect.
type outcome struct {
	refused time.Duration // from the acknowledgement to the first refusal
	ended   time.Duration // from the order to the end of SPIRE's agent, which has seen the ban
}

// quarantined quarantines the node, and wants it to have nothing more.
func (n *node) quarantined(t *testing.T) outcome {
	t.Helper()
	h := n.house
	held := n.workload.awaitJWT(t, "shop")
	own := time.Unix(h.spire.spireAgentOf(t, n.id).GetX509SvidExpiresAt(), 0)
	began := time.Now()
	receipt, err := h.ann.Quarantine(t.Context(), wire.Order{Target: n.id, Reason: "drill"})
	if err != nil {
		t.Fatal(err)
	}
	acknowledged := time.Now()
	// The agent's own SVID, its X509-SVID of the workload, and a JWT-SVID, of which the first lives longest.
	wantReceipt(t, receipt, 3, own, "spire-ban")
	if own.Before(held.Expires) {
		t.Errorf("the agent's SVID ends %s, before a JWT-SVID that it fetched", own)
	}
	refused := n.workload.refusedJWT(t, "shop", h.spire.profile.bound)
	if !until(h.spire.profile.bound, func() bool { return n.banned(t) }) {
		t.Fatal("SPIRE has not banned the agent")
	}
	n.agent.awaitEnd(t, 2*h.spire.profile.bound)
	ended := time.Now()
	h.wantWhy(t, n.id, "quarantined")
	return outcome{refused.Sub(acknowledged), ended.Sub(began)}
}

// revive boots the machine anew, has it say so, and releases it.
func (n *node) revive(t *testing.T) {
	t.Helper()
	n.reboot(t, goldenBoot())
	n.agent.run(t) // it is refused, and attestd has seen that it was reborn
	n.agent.awaitEnd(t, startLimit)
	if _, err := n.house.bob.Release(t.Context(), wire.Order{Target: n.id, Reason: "drill is over"}); err != nil {
		t.Fatal(err)
	}
	n.startAgain(t)(t)
}

// startAgain starts the agent; the function that it returns waits for the workload's first JWT-SVID,
// and starts the agent again each time it ends, as its unit does.
func (n *node) startAgain(t *testing.T) (wait func(*testing.T) asked.Answer) {
	t.Helper()
	answered, err := n.workload.send(asked.Question{
		Do: asked.JWT, Audience: "again", Persist: true, Within: startLimit,
	})
	if err != nil {
		t.Fatal(err)
	}
	n.agent.run(t)
	return func(t *testing.T) asked.Answer {
		t.Helper()
		for {
			select {
			case answer := <-answered:
				if !answer.OK {
					t.Fatalf("no JWT-SVID after %s: %s", startLimit, answer.Error)
				}
				return answer
			case <-n.agent.ended:
				time.Sleep(200 * time.Millisecond)
				n.agent.run(t)
			}
		}
	}
}

// TestAHeldMachineStaysHeld: its agent is started again and again, and its machine boots anew; it gets
// no SVID before somebody else released it.
func TestAHeldMachineStaysHeld(t *testing.T) {
	h := open(t, houseConfig{profile: fast})
	n := h.measuredNode(t, "first", "memory")
	n.quarantined(t)
	for _, reboot := range []bool{false, true} {
		if reboot {
			n.reboot(t, goldenBoot())
		}
		n.agent.run(t)
		n.agent.awaitEnd(t, startLimit)
		if answer := n.workload.jwt(t, "shop"); answer.OK {
			t.Fatalf("a held machine has a JWT-SVID: %v", answer.Claims)
		}
		if !n.banned(t) {
			t.Error("the agent is not banned any more")
		}
	}
	if subject, err := h.root.Subject(t.Context(), n.id); err != nil || subject.State != attestd.StateQuarantined {
		t.Errorf("the machine is %v, %v", subject.State, err)
	}
}
