package keysocket_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/attestd/attestd/plugins/spire/keysocket"
	"github.com/attestd/attestd/plugins/spire/keysocket/local"
)

// askVariable has the test program ask for the newest key, say what it was told, and end.
const askVariable = "KEYSOCKET_TEST_ASK"

func askNewest(path string) string {
	client, err := keysocket.Dial(path)
	if err != nil {
		return err.Error()
	}
	defer client.Close()
	if _, err := client.Newest(context.Background()); err != nil {
		return err.Error()
	}
	return "told"
}

// ownGroup makes a control group, where this machine lets it.
func ownGroup(t *testing.T) string {
	t.Helper()
	for _, parent := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		path := filepath.Join(parent, "attestd-test-"+strconv.Itoa(os.Getpid()))
		if os.Mkdir(path, 0o755) == nil {
			t.Cleanup(func() { _ = os.Remove(path) })
			return path
		}
	}
	t.Skip("no control group can be made here; CI runs this test as root, where one can")
	return ""
}

// TestAContainersRootIsNotTheAgent: root in a container is user 0 to the kernel as the agent is, and where
// the runtime folder was mounted there (it lies beside the Workload API's socket, say) modes keep nobody
// out. Whoever is let in signs with the agent's key.
func TestAContainersRootIsNotTheAgent(t *testing.T) {
	keys := &memory{}
	keys.generate(t)
	_, path := listen(t, keys, "")
	group := ownGroup(t)
	ask := func(before string) string {
		command := exec.Command("/bin/sh", "-c", before+`exec "$0"`, os.Args[0])
		command.Env = []string{askVariable + "=" + path}
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	if said := ask(""); said != "told" {
		t.Errorf("beside the key manager: %q", said)
	}
	if said := ask("echo $$ > " + group + "/cgroup.procs; "); !strings.Contains(said, "could not decide") {
		t.Errorf("in another control group: %q, want that the connection is dropped", said)
	}
}

func TestGroupsAreCompared(t *testing.T) {
	proc := t.TempDir()
	put := func(name, text string) {
		if err := os.MkdirAll(filepath.Join(proc, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if text == "" {
			return
		}
		if err := os.WriteFile(filepath.Join(proc, name, "cgroup"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("self", "0::/system.slice/spire-agent.service\n")
	put("1", "0::/system.slice/spire-agent.service\n")
	put("2", "0::/kubepods/podx\n")
	put("3", "0::/system.slice/spire-agent.service/below\n")
	put("4", "")
	put("0", "0::/system.slice/spire-agent.service\n") // who has no number here is in no group of ours
	for pid, want := range map[int32]bool{0: false, 1: true, 2: false, 3: false, 4: false, 5: false} {
		if err := local.Beside(proc, pid); (err == nil) != want {
			t.Errorf("process %d: %v, want that it is beside: %t", pid, err, want)
		}
	}
	bare := t.TempDir() // a kernel without control groups
	if err := local.Beside(bare, 1); err != nil {
		t.Errorf("without control groups: %v", err)
	}
}
