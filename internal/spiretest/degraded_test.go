package spiretest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/spiretest/asked"
)

// TestTokensGoOnForAMinuteWithoutAttestd where the configuration says so, for whom attestd knew
// well: they say so, and none outlives what the receipt of a quarantine names. Back, attestd alone
// answers.
func TestTokensGoOnForAMinuteWithoutAttestd(t *testing.T) {
	h := open(t, houseConfig{profile: fast, section: []string{"degraded: snapshot"}})
	n := h.measuredNode(t, "first", "memory")
	if claims := n.workload.awaitJWT(t, "before").Claims; claims["attestd_degraded"] != nil {
		t.Fatalf("while attestd answers a JWT-SVID says %v", claims)
	}
	// What is handed out next has the id that was just granted something.
	time.Sleep(12 * time.Second)
	killed := time.Now()
	h.daemon.kill()
	answer := n.workload.ask(t, asked.Question{
		Do: asked.JWT, Audience: "without", Within: 8 * time.Second,
	})
	if !answer.OK || answer.Claims["attestd_degraded"] != true || answer.Claims["attested"] != true {
		t.Fatalf("without attestd: %s, %v", answer.Error, answer.Claims)
	}
	if left := answer.Expires.Sub(killed); left > time.Minute {
		t.Errorf("a JWT-SVID without attestd is good for %s after its end", left)
	}
	said, err := h.spire.command(t, "jwt", "mint", "-spiffeID", id("/by-hand"), "-audience", "shop")
	if err == nil {
		t.Errorf("nobody knew of it, and SPIRE mints %s", said)
	}
	if said, err := h.spire.command(t, "x509", "mint", "-spiffeID", id(n.path)); err == nil {
		t.Errorf("without attestd SPIRE mints an X.509-SVID: %s", said)
	}
	h.daemon.run(t)
	carl := h.operator(t, "carl", "security") // where the new process answers
	receipt, err := carl.Quarantine(t.Context(), wire.Order{Target: n.id, Reason: "drill"})
	if err != nil {
		t.Fatal(err)
	}
	if receipt.Grants == 0 || receipt.GrantsUntil.Before(answer.Expires.Truncate(time.Second)) {
		t.Errorf("the receipt names %d grants until %s; a JWT-SVID is good until %s", receipt.Grants,
			receipt.GrantsUntil, answer.Expires)
	}
	if !slices.ContainsFunc(receipt.Channels, func(one wire.Channel) bool {
		return one.Name == "spire-composers" && one.State == "pending" &&
			strings.Contains(one.Detail, "end by")
	}) {
		t.Errorf("the receipt's channels are %+v", receipt.Channels)
	}
	for round := range 3 {
		again := n.workload.ask(t, asked.Question{
			Do: asked.JWT, Audience: fmt.Sprint("after ", round), Within: 3 * time.Second,
		})
		if again.OK {
			t.Errorf("held, with attestd there: %v", again.Claims)
		}
	}
}
