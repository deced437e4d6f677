package spiretest_test

import (
	"fmt"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/decision"
)

// again starts another daemon, which takes the bundle from the SPIRE server's own endpoint: what was held
// is held, and what was decided is decided alike.
func (s *decideSite) again(t *testing.T) {
	s.process.stop(t)
	source := fmt.Sprintf("https_spiffe:%s,https://127.0.0.1:%d", id("/spire/server"), s.bundlePort)
	s.configureDecisions(t, source, fmt.Sprintf("bootstrap: [%q]", trustDomain+"="+s.spire.bundleFile()))
	s.daemon.run(t)
	s.await(t, stranger)
	for _, token := range s.held {
		s.wantDenied(t, s.authzen(t, token, search(tenant)), decision.CodeQuarantined, decision.CodeExpired)
	}
	for _, one := range []caller{spiking, calling} {
		subject, err := s.root.Subject(t.Context(), one.id())
		if err != nil || subject.State != attestd.StateQuarantined {
			t.Errorf("%s is %s, %v", one.id(), subject.State, err)
		}
	}
	page, replayed := client.DecisionQuery{Oldest: true, Since: s.began, Limit: 200}, 0
	for {
		done, err := s.root.ReplayAll(t.Context(), page)
		if err != nil {
			t.Fatal(err)
		}
		if done.Different != 0 || done.Same == 0 {
			t.Fatalf("decided again: %+v", done)
		}
		replayed += done.Same
		if done.Next == "" || done.Same+done.Skipped < page.Limit {
			break
		}
		page.After = done.Next
	}
	t.Logf("%d decisions were made again, each the same", replayed)
}

// machines holds the hardware: every caller on it is refused, and no other.
func (s *decideSite) machines(t *testing.T) {
	token, other := s.token(t, tenant, retriever.id()), s.token(t, globex, stranger.id())
	s.wantAllowed(t, s.authzen(t, token, search(tenant)), retriever.id())
	receipt, err := s.ann.Quarantine(t.Context(), wire.Order{Target: s.lab.machine.id, Reason: "drill"})
	if err != nil {
		t.Fatal(err)
	}
	s.held = append(s.held, token)
	for name, ask := range s.interfaces() {
		record := s.wantDenied(t, ask(t, token, search(tenant)), decision.CodeQuarantined)
		if record.Input.Sequence < receipt.Sequence {
			t.Errorf("%s: decided at %d, and the receipt says %d", name, record.Input.Sequence, receipt.Sequence)
		}
		s.wantAllowed(t, ask(t, other, search(globex)), stranger.id())
	}
}
