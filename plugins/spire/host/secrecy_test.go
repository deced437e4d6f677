package host_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// stranger is a user that is nobody's on a test machine.
const stranger = 65534

// peekVariable has the test program read what a supervisor keeps for its children, and end.
const peekVariable = "HOST_TEST_PEEK"

// peek opens the descriptors of a process, as any process of its user may unless the kernel is told
// otherwise, and says what is in those that are memory.
func peek(pid string) string {
	links, err := filepath.Glob("/proc/" + pid + "/fd/*")
	if err != nil || len(links) == 0 {
		return "closed"
	}
	out := "open"
	for _, link := range links {
		if name, _ := os.Readlink(link); strings.HasPrefix(name, "/memfd:") {
			content, err := os.ReadFile(link)
			out += fmt.Sprintf(" %s: %q %v", name, content, err)
		}
	}
	return out
}

// TestAnotherProcessOfTheUserReadsNoKeys: the memory that a supervisor keeps has the agent's private keys
// in it, and supervisor and child both hold it. An agent that is not root has company of its own user.
func TestAnotherProcessOfTheUserReadsNoKeys(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root may start another user's process; CI runs this test as root")
	}
	program, err := os.Open(os.Args[0]) // its folder may be closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	asStranger := func(args ...string) *exec.Cmd {
		command := exec.Command("/proc/self/fd/3", args...)
		command.ExtraFiles = []*os.File{program}
		command.Dir = "/"
		return command
	}
	s, err := loadAs(t, stranger, asStranger(probeName))
	if err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	if err := s.configure(`word = "one"`); err != nil {
		t.Fatal(err)
	}
	s.ask("keep=a private key")
	for who, pid := range map[string]string{
		"supervisor": fmt.Sprint(s.command.Process.Pid), "child": s.ask("pid"),
	} {
		command := asStranger()
		command.Env = []string{peekVariable + "=" + pid}
		command.SysProcAttr = &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: stranger, Gid: stranger},
		}
		out, err := command.CombinedOutput()
		if err != nil || string(out) != "closed" {
			t.Errorf("%s: got %q, %v; want that nothing can be looked at", who, out, err)
		}
	}
}
