package spiretest_test

import (
	"testing"
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
)

// TestAnOperatorHasANodeAttestItselfAgain: at once, the next one in its turn, and neither costs the
// workload its identity.
func TestAnOperatorHasANodeAttestItselfAgain(t *testing.T) {
	h := openPrinted(t)
	n := h.measuredNode(t, "first", "memory")
	serial := h.spire.spireAgentOf(t, n.id).GetX509SvidSerialNumber()
	var said wire.Reattest
	if !until(30*time.Second, func() bool { // the controller has seen the agent, and a canary
		var err error
		said, err = h.root.Reattest(t.Context(), wire.ReattestOrder{Target: n.id})
		return err == nil && said.State == "done"
	}) {
		t.Fatalf("the answer is %+v", said)
	}
	if !until(startLimit, func() bool {
		agent := h.spire.spireAgentOf(t, n.id)
		return agent != nil && agent.GetX509SvidSerialNumber() != serial
	}) {
		t.Error("the agent has not attested itself again")
	}
	n.workload.awaitJWT(t, "again")
	var err error
	until(30*time.Second, func() bool { // the last poll may have been while SPIRE had no such agent
		said, err = h.root.Reattest(t.Context(), wire.ReattestOrder{Target: n.id})
		return err == nil && said.State == "waiting"
	})
	if err != nil || said.State != "waiting" || said.Waiting != 1 || said.PerMinute != 1 ||
		time.Until(said.Turn) > time.Minute || time.Until(said.Turn) < time.Second {
		t.Errorf("the second within a minute: %+v, %v", said, err)
	}
	if _, err := h.root.Reattest(t.Context(), wire.ReattestOrder{Target: id("/lab/nobody")}); err == nil {
		t.Error("what is no node is made to attest itself")
	}
	if _, err := h.ann.Reattest(t.Context(), wire.ReattestOrder{Target: n.id}); err == nil {
		t.Error("somebody without the role has a node attest itself")
	}
}
