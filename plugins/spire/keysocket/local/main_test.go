package local_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// stranger is a user that is nobody's on a test machine.
const stranger = 65534

// dialVariable has the test program connect to a socket, say whether it was heard, and end.
const dialVariable = "LOCAL_TEST_DIAL"

func TestMain(m *testing.M) {
	if path := os.Getenv(dialVariable); path != "" {
		fmt.Print(knock(path))
		return
	}
	os.Exit(m.Run())
}

// knock returns what a listener that greets says to a plain client.
func knock(path string) string {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return "no connection: " + err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	said, err := io.ReadAll(conn)
	if err != nil {
		return "no greeting: " + err.Error()
	}
	return string(said)
}

// asStranger knocks as another user; it needs root.
func asStranger(t *testing.T, path string) string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Executed through a descriptor: the folders of a test's program may be closed to others.
	file, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	command := exec.Command("/proc/self/fd/3")
	command.ExtraFiles = []*os.File{file}
	command.Env = []string{dialVariable + "=" + path}
	command.Dir = "/"
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("as user %d: %v\n%s", stranger, err, out)
	}
	return string(out)
}
