package keymanager_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// unprivileged marks the run of another user.
const unprivileged = "KEYMANAGER_TEST_UNPRIVILEGED"

// TestAsAnUnprivilegedUser: an agent need not be root, and a process whose memory may not be dumped
// has less of /proc.
func TestAsAnUnprivilegedUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("this run is itself unprivileged")
		return
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(program) // its folder may be closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	folder, err := os.MkdirTemp("", "k")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if err := os.Chown(folder, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("/proc/self/fd/3", "-test.run", "^TestMemory")
	command.ExtraFiles = []*os.File{file}
	command.Dir = "/"
	command.Env = []string{unprivileged + "=1", "TMPDIR=" + folder, "PATH=" + os.Getenv("PATH")}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := command.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "PASS") || strings.Contains(string(out), "no tests to run") {
		t.Fatalf("as user 65534: %v\n%s", err, out)
	}
}
