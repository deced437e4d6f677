package host_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// knockVariable has the test program connect to a plugin's socket, say whether it was heard, and end.
const knockVariable = "HOST_TEST_KNOCK"

// knock reports whether the gRPC server behind a socket says its first words (RFC 9113, section 3.4).
func knock(path string) string {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprint(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		return "closed"
	}
	if _, err := conn.Read(make([]byte, 9)); err != nil {
		return "closed"
	}
	return "heard"
}

// TestAContainersRootIsNotSPIRE: where /tmp is mounted into a container its root gets at the plugin's
// socket, and could have the agent's key sign, or configure a composer that asks somebody else.
func TestAContainersRootIsNotSPIRE(t *testing.T) {
	group := ""
	for _, parent := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		path := filepath.Join(parent, "attestd-host-test-"+strconv.Itoa(os.Getpid()))
		if os.Mkdir(path, 0o755) == nil {
			t.Cleanup(func() { _ = os.Remove(path) })
			group = path
			break
		}
	}
	if group == "" {
		t.Skip("no control group can be made here; CI runs this test as root, where one can")
	}
	s := mustLoad(t, "one")
	sockets, err := filepath.Glob(filepath.Join(s.folder, "*", "plugin.sock"))
	if err != nil || len(sockets) != 1 {
		t.Fatalf("got %q, %v; want one socket", sockets, err)
	}
	for before, want := range map[string]string{"": "heard", "echo $$ > " + group + "/cgroup.procs; ": "closed"} {
		command := exec.Command("/bin/sh", "-c", before+`exec "$0"`, os.Args[0])
		command.Env = []string{knockVariable + "=" + sockets[0]}
		if out, err := command.CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("after %q: %q, %v; want %q", before, out, err, want)
		}
	}
	if got := s.ask("word"); got != "one" {
		t.Errorf("SPIRE is answered %q", got)
	}
}
