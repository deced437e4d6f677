package spiretest_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestMigration moves a node that shows a token to attestd, with what attestd migrate prints: its
// workload has an identity before, in between and after, and in the end on the measured node alone.
func TestMigration(t *testing.T) {
	h := open(t, houseConfig{profile: fast, unattested: "observe", server: serverConfig{plugins: `
	NodeAttestor "join_token" {
		plugin_data {
		}
	}`}})
	old := plainNode(t, h.spire)
	m := newMachine(t, "first", goldenBoot())
	h.owns(t, m)
	n := &node{house: h, machine: m, keys: "memory", runtime: filepath.Join(m.folder, "r"), path: plainWorkload}
	n.agent = h.spire.prepare(t, agentConfig{plugins: n.plugins(t)})

	agent := id("/spire/agent/join_token/" + old.agent.config.token)
	pairs, create := filepath.Join(m.folder, "nodes.csv"), filepath.Join(m.folder, "create.json")
	write(t, pairs, []byte(agent+","+m.id+"\n"))
	plan := h.migrate(t, 0, "plan", "--nodes", pairs, "--out", create)
	if len(plan.Entries) != 1 || plan.Entries[0].ParentID != m.id {
		t.Fatalf("the plan is %+v", plan)
	}
	if said, err := h.spire.command(t, "entry", "create", "-data", create); err != nil {
		t.Fatalf("SPIRE does not take the plan: %v %s", err, said)
	}
	if again := h.migrate(t, 0, "plan", "--nodes", pairs); len(again.Entries) != 0 {
		t.Errorf("what was done is planned again: %+v", again)
	}
	h.spire.cached(t)
	if shadow := h.migrate(t, 3, "shadow"); len(shadow.Verdicts) != 2 || shadow.Verdicts[0].Granted {
		t.Errorf("before it attests itself: %+v", shadow)
	}
	left := h.migrate(t, 3, "enforce", "--prefix", "attestd.", "--apply")
	if len(left.Left) != 1 || len(left.Entries) != 0 {
		t.Errorf("an entry without a node is enforced: %+v", left)
	}
	n.start(t)
	// The old node can obtain it, too, and nobody can tell whose it is.
	if jwt := n.workload.awaitJWT(t, "shop"); jwt.Claims["attested"] != false {
		t.Errorf("on the measured node: %v", jwt.Claims)
	}
	if jwt := old.workload.awaitJWT(t, "shop"); jwt.ID != id(plainWorkload) {
		t.Errorf("on the old node: %+v", jwt)
	}
	done := h.migrate(t, 0, "enforce", "--prefix", "attestd.", "--apply")
	if !done.Applied || len(done.Entries) != 1 || len(done.Left) != 0 {
		t.Fatalf("enforced: %+v", done)
	}
	h.spire.cached(t)
	n.workload.awaitJWT(t, "after")
	if said, err := h.spire.command(t, "entry", "delete", "-entryID", "plain-"+old.agent.config.token); err != nil {
		t.Fatalf("the old entry: %v %s", err, said)
	}
	var attested any
	if !until(startLimit, func() bool {
		attested = n.workload.jwt(t, "measured-"+time.Now().String()).Claims["attested"]
		return attested == true
	}) {
		t.Errorf("with the measured node alone the claim attested is %v", attested)
	}
	if shadow := h.migrate(t, 0, "shadow"); len(shadow.Verdicts) != 1 || !shadow.Verdicts[0].Granted {
		t.Errorf("in the end: %+v", shadow)
	}
	again := h.migrate(t, 0, "enforce", "--prefix", "attestd.")
	if len(again.Entries)+len(again.Left) != 0 {
		t.Errorf("what is enforced is enforced again: %+v", again)
	}
}

// step is what attestd migrate answers.
type step struct {
	Entries []struct {
		ID       string `json:"entry_id"`
		ParentID string `json:"parent_id"`
	} `json:"entries"`
	Verdicts []struct {
		Entry   string `json:"entry"`
		Granted bool   `json:"granted"`
		Reason  string `json:"reason"`
	} `json:"verdicts"`
	Left    map[string]string `json:"left"`
	Applied bool              `json:"applied"`
}

// migrate runs a step over both sockets.
func (h *house) migrate(t *testing.T, code int, words ...string) (out step) {
	t.Helper()
	words = append(append([]string{"migrate"}, words...), "--spire", "unix:"+h.spire.socket(), "--server",
		"unix:"+h.socket(), "-o", "json")
	command := exec.CommandContext(t.Context(), attestdProgram.file(t), words...) //nolint:gosec // ours
	said, err := command.Output()
	if command.ProcessState.ExitCode() != code || json.Unmarshal(said, &out) != nil {
		t.Fatalf("attestd %q: exit code %d, want %d: %v\n%s", words, command.ProcessState.ExitCode(), code, err, said)
	}
	return out
}
