package spiretest_test

import (
	"testing"
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
)

// TestAnHonestAgentEndsBehindTheGate: a gate that refused every call of a held agent would keep from it
// the one answer that it ends on, and it would serve what it has cached to the end.
func TestAnHonestAgentEndsBehindTheGate(t *testing.T) {
	h := open(t, houseConfig{profile: fast, gated: true})
	n := h.measuredNode(t, "first", "memory")
	if _, err := h.ann.Quarantine(t.Context(), wire.Order{Target: n.id, Reason: "drill"}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	// The controller's poll sees the ban, then the agent's next look for entries is SPIRE's to answer.
	if !until(20*time.Second, func() bool { return !n.agent.running() }) {
		t.Fatal("the agent serves on, 20 s after the acknowledgement")
	}
	t.Logf("the agent ended %s after the acknowledgement", time.Since(began))
}
