package spiretest_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/spiretest/asked"
)

// slowness is how long what the tests slow down sleeps.
const slowness = 4 * time.Second

// TestABanThatRacesAnAttestation: the evidence was good and is judged, the composer sleeps, the machine
// is quarantined and its agent banned; then the composer goes on. Without its last look at the hold
// SPIRE would write the new serial over the ban.
//
// neg: 197
func TestABanThatRacesAnAttestation(t *testing.T) {
	h := open(t, houseConfig{profile: fast})
	n := h.measuredNode(t, "first", "memory")
	n.agent.stop(t)
	composer := h.spire.children(pluginProgram.file(t), "composer")
	if len(composer) < 2 {
		t.Fatalf("the composer's processes are %v, want a supervisor and its child", composer)
	}
	child := composer[len(composer)-1]
	if err := syscall.Kill(child, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	evidence := n.appraisal(t)
	n.agent.run(t)
	if !until(startLimit, func() bool { return n.appraisal(t) != evidence }) {
		t.Fatal("attestd has judged no evidence")
	}
	if _, err := h.ann.Quarantine(t.Context(), wire.Order{Target: n.id, Reason: "drill"}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(slowness)
	if err := syscall.Kill(child, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	n.agent.awaitEnd(t, startLimit)
	// A ban that is laid again would hide it: no SVID may have been given at all.
	if strings.Contains(n.agent.said.String(), "Node attestation was successful") {
		t.Error("SPIRE has certified the agent after its machine was quarantined")
	}
	// SPIRE has no serial for a banned agent; one here would be of the SVID that the race was about.
	if agent := h.spire.spireAgentOf(t, n.id); agent.GetX509SvidSerialNumber() != "" || !agent.GetBanned() {
		t.Errorf("the agent is banned: %v; its serial is %s", agent.GetBanned(), agent.GetX509SvidSerialNumber())
	}
	n.wantNothingFor(t, 3*time.Second)
}

// TestABanThatRacesTheWriteIsLaidAgain: the composer has granted, SPIRE's server stops before it writes,
// the machine is quarantined. The acknowledgement counts the grant; when the server goes on and writes
// over the ban, the ban is laid again until it stays.
//
// neg: 197
func TestABanThatRacesTheWriteIsLaidAgain(t *testing.T) {
	h := open(t, houseConfig{profile: fast})
	n := h.measuredNode(t, "first", "memory")
	order := wire.Order{Target: n.id, Reason: "drill", DryRun: true}
	grants := func() int {
		receipt, err := h.ann.Quarantine(t.Context(), order)
		if err != nil {
			t.Fatal(err)
		}
		return receipt.Grants
	}
	n.agent.stop(t)
	before := grants()
	n.agent.run(t)
	for deadline := time.Now().Add(startLimit); grants() == before; {
		if time.Now().After(deadline) {
			t.Fatal("nothing was granted")
		}
	}
	h.spire.signal(t, syscall.SIGSTOP)
	order.DryRun = false
	receipt, err := h.ann.Quarantine(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	if receipt.Grants <= before || time.Until(receipt.GrantsUntil) < 50*time.Minute {
		t.Errorf("the acknowledgement counts %d grants until %s; there were %d, and one for the agent's hour "+
			"more", receipt.Grants, receipt.GrantsUntil, before)
	}
	time.Sleep(time.Second)
	h.spire.signal(t, syscall.SIGCONT)
	if !until(5*time.Second, func() bool { return n.banned(t) }) {
		t.Fatal("the agent is not banned")
	}
	n.agent.awaitEnd(t, startLimit)
	n.wantNothingFor(t, 3*time.Second)
}

// wantNothingFor wants the node to have no JWT-SVID, and to stay banned, for some time.
func (n *node) wantNothingFor(t *testing.T, long time.Duration) {
	t.Helper()
	n.agent.run(t)
	answer := n.workload.ask(t, asked.Question{
		Do: asked.JWT, Audience: "after", Persist: true, Within: long,
	})
	if answer.OK {
		t.Fatalf("a JWT-SVID after the hold: %v", answer.Claims)
	}
	if !n.banned(t) {
		t.Error("the agent is not banned any more")
	}
}

// appraisal is the latest verdict on the node's evidence that attestd took.
func (n *node) appraisal(t *testing.T) string {
	t.Helper()
	subject, err := n.house.root.Subject(t.Context(), n.id)
	if err != nil {
		t.Fatal(err)
	}
	return subject.Appraisal
}
