package spiretest_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"
	entryv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"

	"github.com/attestd/attestd/internal/admin/wire"
)

// TestWhyNamesTheCause puts cases of "no identity issued" up on a real SPIRE, one after the other, and
// wants each named by its cause: for a workload's id, for a node, and for a process on the node.
func TestWhyNamesTheCause(t *testing.T) {
	h := open(t, houseConfig{profile: fast})
	n := h.measuredNode(t, "first", "memory")
	shop := id(n.path)
	soon := func(name, target, code string) {
		t.Helper()
		var last wire.Why
		if !until(15*time.Second, func() bool {
			var err error
			last, err = h.root.Why(t.Context(), target)
			return err == nil && last.Code == code
		}) {
			t.Errorf("%s: why says of %s %q: %s, %+v; want %q", name, target, last.Code, last.Cause, last.Steps, code)
		}
	}
	soon("a workload that has its identity", shop, "granted")
	soon("its node", n.id, "granted")
	n.wantProcess(t, n.workload.pid(), "granted", shop)

	absent := id("/spire/agent/attestd/tpm/absent")
	h.spire.register(t,
		entry{id: "attestd.picky", spiffeID: id("/lab/picky"), parent: n.id,
			selectors: []string{"unix:uid:0", "attestd:tier:low"}},
		entry{id: "attestd.orphan", spiffeID: id("/lab/orphan"), parent: absent, selectors: []string{"unix:uid:0"}},
		entry{id: "attestd.alias", spiffeID: id("/alias/none"), parent: id("/spire/server"),
			selectors: []string{"attestd:tenant:nobody"}},
		entry{id: "attestd.unmatched", spiffeID: id("/lab/unmatched"), parent: id("/alias/none"),
			selectors: []string{"unix:uid:0"}},
	)
	h.spire.register(t, entry{id: "attestd.long", spiffeID: id("/lab/long"), parent: n.id,
		selectors: []string{"unix:uid:0"}})
	h.spire.setTTL(t, "attestd.long", 90_000)
	soon("no entry", id("/lab/nobody"), "no-entry")
	soon("an entry in another case", id("/lab/Picky"), "no-entry")
	soon("a tier that the node does not have", id("/lab/picky"), "selectors")
	soon("a parent that never attested", id("/lab/orphan"), "agent-unknown")
	soon("an alias that matches nobody", id("/lab/unmatched"), "no-node")
	soon("longer than attestd grants", id("/lab/long"), "entry-ttl")
	soon("issued for evidence alone", id("/enclave/lab/x"), "evidence-alone")
	soon("the server's own", id("/spire/server"), "spires-own")
	soon("another trust domain", "spiffe://other.example/x", "other-domain")
	n.wantProcess(t, 1<<22, "no-process")
	n.wantProcess(t, n.agent.workload(t, another(t)).pid(), "not-named", shop)

	path := spiffeid.RequireFromString(n.id).Path()
	agentID := &types.SPIFFEID{TrustDomain: trustDomain, Path: path}
	if _, err := h.spire.agents.BanAgent(t.Context(), &agentv1.BanAgentRequest{Id: agentID}); err != nil {
		t.Fatal(err)
	}
	soon("a person banned the agent", shop, "agent-banned")
	soon("a person banned it", n.id, "agent-banned")
	n.agent.awaitEnd(t, startLimit)
	if _, err := h.spire.agents.DeleteAgent(t.Context(), &agentv1.DeleteAgentRequest{Id: agentID}); err != nil {
		t.Fatal(err)
	}
	soon("a person evicted it", n.id, "agent-unknown")
	n.startAgain(t)(t)
	soon("it is back", shop, "granted")

	if _, err := h.ann.Quarantine(t.Context(), wire.Order{Target: shop, Tenant: tenant, Reason: "drill"}); err != nil {
		t.Fatal(err)
	}
	soon("the workload's own name is held", shop, "quarantined")
	if _, err := h.ann.Quarantine(t.Context(), wire.Order{Target: n.id, Reason: "drill"}); err != nil {
		t.Fatal(err)
	}
	soon("its node is held", id("/lab/picky"), "quarantined")
	h.spire.kill()
	soon("SPIRE is not there", id("/lab/nobody"), "spire-unknown")
}

// TestWhyOnANodeWithoutAttestd: the node says itself that it has no word any more.
func TestWhyOnANodeWithoutAttestd(t *testing.T) {
	h := open(t, houseConfig{profile: fast})
	n := h.measuredNode(t, "first", "memory")
	h.daemon.kill()
	if !until(20*time.Second, func() bool { return n.process(t, n.workload.pid()).Code == "no-stream" }) {
		t.Errorf("why says %+v", n.process(t, n.workload.pid()))
	}
}

// process asks attestd why on the node about a process.
func (n *node) process(t *testing.T, pid int, id ...string) (why wire.Why) {
	t.Helper()
	words := []string{
		"why", "--pid", strconv.Itoa(pid), "--runtime-dir", n.runtime, "-o", "json", "--identity",
		filepath.Join(t.TempDir(), "none"),
	}
	if n.house.daemon.running() {
		words = append(words, "--server", "unix:"+n.house.socket())
	}
	words = append(words, id...)
	out, err := exec.CommandContext(t.Context(), attestdProgram.file(t), words...).Output() //nolint:gosec // ours
	if decode := json.Unmarshal(out, &why); decode != nil {
		t.Fatalf("attestd why --pid %d: %v, %s", pid, err, out)
	}
	return why
}

func (n *node) wantProcess(t *testing.T, pid int, code string, id ...string) {
	t.Helper()
	var last wire.Why
	if !until(15*time.Second, func() bool { last = n.process(t, pid, id...); return last.Code == code }) {
		t.Errorf("why says of process %d %q: %s, %+v; want %q", pid, last.Code, last.Cause, last.Steps, code)
	}
}

// setTTL sets how long X509-SVIDs of an entry shall live, in seconds.
func (s *spireServer) setTTL(t *testing.T, entryID string, seconds int32) {
	t.Helper()
	answer, err := s.entries.BatchUpdateEntry(t.Context(), &entryv1.BatchUpdateEntryRequest{
		Entries:   []*types.Entry{{Id: entryID, X509SvidTtl: seconds}},
		InputMask: &types.EntryMask{X509SvidTtl: true},
	})
	if err != nil || answer.GetResults()[0].GetStatus().GetCode() != 0 {
		t.Fatalf("entry %s: %v, %v", entryID, answer, err)
	}
}
