package spiretest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestThePrintedBlocksWork: a server and an agent with the blocks that attestd spire config prints, and
// with the digest of the program in them, which SPIRE compares.
func TestThePrintedBlocksWork(t *testing.T) {
	h := openPrinted(t)
	m := newMachine(t, "first", goldenBoot())
	h.owns(t, m)
	n := h.node(t, m, "tpm")
	blocks := printedBlocks(t, "--agent", "--config", h.configFile(), "--device", "swtpm:"+m.tpm.Socket(),
		"--state-dir", m.state(), "--runtime-dir", n.runtime)
	// What a machine has where everybody looks, and a software TPM has not.
	place, attestor := "state_dir = \""+m.state()+"\"", strings.Index(blocks, "NodeAttestor ")
	blocks = blocks[:attestor] + strings.Replace(blocks[attestor:], place, place+"\nevent_log = \""+m.bootLog()+
		"\"\nima_log = \"off\"\nek_chain_file = \""+maker(t).IssuerFile()+"\"", 1)
	n.agent = h.spire.prepare(t, agentConfig{plugins: blocks + plainWorkloads})
	h.spire.cached(t)
	n.start(t)
	if got := n.workload.awaitJWT(t, "shop"); got.ID != id(n.path) || got.Claims["key_grade"] != "resident" {
		t.Errorf("the JWT-SVID is for %s: %v", got.ID, got.Claims)
	}
}

// openPrinted opens a house whose SPIRE server has the printed blocks: its canaries ask for the tenant
// that there is.
func openPrinted(t *testing.T) *house {
	t.Helper()
	h := arrange(t, houseConfig{profile: fast})
	document, err := os.ReadFile(h.spire.configFile())
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(string(document), h.serverPlugins(t))
	if !found {
		t.Fatal("the server's configuration is another")
	}
	blocks := printedBlocks(t, "--server", "--config", h.configFile())
	write(t, h.spire.configFile(), []byte(before+blocks+after))
	h.start(t)
	return h
}

// printedBlocks is what attestd spire config prints.
func printedBlocks(t *testing.T, words ...string) string {
	t.Helper()
	words = append([]string{"spire", "config", "--plugin", pluginProgram.file(t)}, words...)
	out, err := exec.CommandContext(t.Context(), attestdProgram.file(t), words...).Output() //nolint:gosec // ours
	if err != nil {
		t.Fatalf("attestd spire config: %v: %s", err, err.(*exec.ExitError).Stderr) //nolint:errorlint // it ran
	}
	return string(out)
}
