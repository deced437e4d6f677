package workloadattestor_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stranger is a user that is nobody's on a test machine.
const stranger = 65534

// TestOneUsersQueueHoldsUpNobodyElse: the attack is to begin what somebody else runs, behind files of
// one's own that take long.
func TestOneUsersQueueHoldsUpNobodyElse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may start another user's process; CI runs this test as root")
	}
	path := program(t, "/bin/sleep", "shared")
	inspector := limited(t, &movable{}, 1<<30, 1<<30)
	release := inspector.Occupy(stranger)
	defer release()
	must(t, os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755))
	theirs := exec.Command(path, "60")
	theirs.Dir = "/"
	theirs.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	must(t, theirs.Start())
	t.Cleanup(func() { _ = theirs.Process.Kill(); _ = theirs.Wait() })
	digest, _, reasons, err := inspector.Look(t.Context(), theirs.Process.Pid)
	if err != nil || digest != "" || !strings.Contains(strings.Join(reasons, "\n"), "still being read") {
		t.Fatalf("got %q, %q, %v; want that the stranger waits for his turn", digest, reasons, err)
	}
	if got := look(t, inspector, start(t, path, "60").Process.Pid); got != digestOf(t, path) {
		t.Errorf("got %s", got)
	}
}

// TestADigestDoesNotSayWhoRunsIt is why an entry names the user beside the program (docs/workloads.md): a
// stranger's process has the selector of whatever he may run.
func TestADigestDoesNotSayWhoRunsIt(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may start another user's process; CI runs this test as root")
	}
	path := program(t, "/bin/sleep", "the bank's")
	must(t, os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755))
	// What asks for the identity is a shell; what is looked at is what it has become since.
	theirs := exec.Command("/bin/sh", "-c", `exec "$0" 60`, path)
	theirs.Dir = "/"
	theirs.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	must(t, theirs.Start())
	t.Cleanup(func() { _ = theirs.Process.Kill(); _ = theirs.Wait() })
	inspector := inspect(t, nil)
	for end := time.Now().Add(5 * time.Second); look(t, inspector, theirs.Process.Pid) != digestOf(t, path); {
		if time.Now().After(end) {
			t.Fatal("the process has another digest: then the page says too little of what a name shows")
		}
	}
	page, err := os.ReadFile("../../../docs/workloads.md")
	must(t, err)
	if !strings.Contains(string(page), "unix:uid:") {
		t.Error("the page does not say that the user must be named too")
	}
}
