package workloadattestor_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/attestd/attestd/plugins/spire/workloadattestor"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func digestOf(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// program returns the path of a copy of an executable with a tail, so that its digest is its own.
func program(t testing.TB, from, tail string) string {
	t.Helper()
	real, err := filepath.EvalSymlinks(from)
	must(t, err)
	content, err := os.ReadFile(real)
	must(t, err)
	path := filepath.Join(t.TempDir(), "program")
	must(t, os.WriteFile(path, append(content, tail...), 0o755))
	return path
}

// start runs a program until the test ends, and returns when it has begun: exec is over.
func start(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	command := exec.Command(name, args...)
	in, err := command.StdinPipe()
	must(t, err)
	must(t, command.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	return command
}

func inspect(t testing.TB, between func()) *workloadattestor.Inspector {
	t.Helper()
	inspector, err := workloadattestor.NewInspector(workloadattestor.SystemClock(), 1<<30, 1<<30, between)
	must(t, err)
	return inspector
}

func look(t testing.TB, inspector *workloadattestor.Inspector, pid int) string {
	t.Helper()
	digest, _, reasons, err := inspector.Look(t.Context(), pid)
	must(t, err)
	if digest == "" {
		t.Fatalf("no digest: %v", reasons)
	}
	return digest
}

func TestTheDigestIsOfWhatTheProcessWasStartedFrom(t *testing.T) {
	inspector := inspect(t, nil)
	path := program(t, "/bin/sleep", "one")
	command := start(t, path, "60")
	want := digestOf(t, path)
	if got := look(t, inspector, command.Process.Pid); got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	t.Run("another file takes its name while it runs", func(t *testing.T) {
		other := program(t, "/bin/sleep", "two")
		must(t, os.Rename(other, path))
		if digestOf(t, path) == want {
			t.Fatal("the files are equal: the test shows nothing")
		}
		if got := look(t, inspect(t, nil), command.Process.Pid); got != want {
			t.Errorf("got %s, want that of the file that runs, %s", got, want)
		}
	})
	t.Run("its file is removed while it runs", func(t *testing.T) {
		must(t, os.Remove(path))
		if got := look(t, inspect(t, nil), command.Process.Pid); got != want {
			t.Errorf("got %s, want that of the file that runs, %s", got, want)
		}
	})
}

// TestAScriptIsItsInterpreter: who names /bin/sh names every script.
func TestAScriptIsItsInterpreter(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	must(t, os.WriteFile(script, []byte("#!/bin/sh\nread line\n"), 0o755))
	command := start(t, script)
	shell, err := filepath.EvalSymlinks("/bin/sh")
	must(t, err)
	if got := look(t, inspect(t, nil), command.Process.Pid); got != digestOf(t, shell) {
		t.Errorf("got %s, want that of %s", got, shell)
	}
}

func TestAProcessThatEndsOrBecomesAnotherIsNotDescribed(t *testing.T) {
	t.Run("there is none", func(t *testing.T) {
		command := start(t, "/bin/sleep", "60")
		must(t, command.Process.Kill())
		_ = command.Wait()
		gone(t, inspect(t, nil), command.Process.Pid)
	})
	t.Run("it has ended and nobody collected it", func(t *testing.T) {
		command := start(t, "/bin/sleep", "60")
		must(t, command.Process.Kill())
		awaitState(t, command.Process.Pid, "Z")
		gone(t, inspect(t, nil), command.Process.Pid)
	})
	t.Run("it ends while it is looked at", func(t *testing.T) {
		command := start(t, "/bin/sleep", "60")
		gone(t, inspect(t, func() {
			_ = command.Process.Kill()
			_, _ = command.Process.Wait()
		}), command.Process.Pid)
	})
}

func gone(t *testing.T, inspector *workloadattestor.Inspector, pid int) {
	t.Helper()
	digest, _, _, err := inspector.Look(t.Context(), pid)
	if !errors.Is(err, workloadattestor.ErrGone) || digest != "" {
		t.Errorf("got %q and %v, want that the process is gone", digest, err)
	}
}

func awaitState(t *testing.T, pid int, state string) {
	t.Helper()
	for range 500 {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		must(t, err)
		if strings.Contains(string(text), ") "+state+" ") {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("process %d did not come to state %s", pid, state)
}

// TestAProcessThatRunsAnotherProgramIsNotDescribed: what is told belongs to one program, the one that
// runs at the end of the look.
func TestAProcessThatRunsAnotherProgramIsNotDescribed(t *testing.T) {
	bash, err := filepath.EvalSymlinks("/bin/bash")
	must(t, err)
	cat, err := filepath.EvalSymlinks("/bin/cat")
	must(t, err)
	command := exec.Command("/bin/sh", "-c",
		"read a; exec /bin/bash -c 'read b; exec /bin/cat'")
	in, err := command.StdinPipe()
	must(t, err)
	must(t, command.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	pid := command.Process.Pid
	step := func(want string) func() {
		return func() {
			_, err := io.WriteString(in, "\n")
			must(t, err)
			for range 1000 {
				if now, _ := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe")); now == want {
					return
				}
				time.Sleep(time.Millisecond)
			}
			t.Errorf("the process did not become %s", want)
		}
	}
	steps := []func(){step(bash), step(cat)}
	next := func() {
		if len(steps) > 0 {
			steps[0]()
			steps = steps[1:]
		}
	}
	// Twice another program within one look: once is between fork and exec, twice is a trick.
	gone(t, inspect(t, next), pid)
	if got := look(t, inspect(t, nil), pid); got != digestOf(t, cat) {
		t.Errorf("got %s, want that of %s, which runs now", got, cat)
	}
}

// TestANumberThatWasGivenToAnotherIsNotTheProcess lets the kernel give the number of a process that
// ended to another one while it is looked at.
func TestANumberThatWasGivenToAnotherIsNotTheProcess(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may say which number the next process gets; CI runs this test as root")
	}
	command := start(t, "/bin/sleep", "60")
	pid := command.Process.Pid
	var other *exec.Cmd
	gone(t, inspect(t, func() {
		if other != nil {
			return
		}
		must(t, command.Process.Kill())
		_ = command.Wait()
		for range 200 {
			must(t, os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0))
			one := start(t, "/bin/sleep", "60")
			if one.Process.Pid == pid {
				other = one
				return
			}
		}
	}), pid)
	if other == nil {
		t.Fatal("no other process got the number: the test shows nothing")
	}
	must(t, syscall.Kill(pid, 0))
}

// TestAnotherStartTimeIsAnotherProcess, also where nothing else can be read of it.
func TestAnotherStartTimeIsAnotherProcess(t *testing.T) {
	proc := t.TempDir()
	must(t, os.Mkdir(filepath.Join(proc, "77"), 0o755))
	began := func(at string) {
		text := "77 (sleep) S 1 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 " + at + " 0 0"
		must(t, os.WriteFile(filepath.Join(proc, "77", "stat"), []byte(text), 0o644))
	}
	must(t, os.WriteFile(filepath.Join(proc, "77", "cgroup"), []byte("0::/docker/"+boxA+"\n"), 0o644))
	began("4242")
	inspector := inspect(t, nil)
	inspector.Below(proc)
	_, container, _, err := inspector.Look(t.Context(), 77)
	if err != nil || container != boxA {
		t.Fatalf("got %q and %v", container, err)
	}
	inspector = inspect(t, func() { began("4243") })
	inspector.Below(proc)
	gone(t, inspector, 77)
}

func TestTheStartTimeIsReadWhateverTheProgramIsCalled(t *testing.T) {
	tail := " S 1 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0"
	for _, name := range []string{"sleep", "a) Z 1 1 (b", ") S 9 9 9", "x\ny", ""} {
		began, err := workloadattestor.ParseStart([]byte("77 (" + name + ")" + tail))
		if err != nil || began != 4242 {
			t.Errorf("program %q: got %d and %v, want 4242", name, began, err)
		}
	}
	for name, text := range map[string]string{
		"no name": "77 sleep S 1", "too short": "77 (sleep) S 1 1", "empty": "",
		"a start time that is no number": strings.Replace("77 (sleep)"+tail, "4242", "soon", 1),
	} {
		if began, err := workloadattestor.ParseStart([]byte(text)); err == nil {
			t.Errorf("%s: got %d, want an error", name, began)
		}
	}
	for _, state := range []string{"Z", "X"} {
		text := strings.Replace("77 (sleep)"+tail, " S ", " "+state+" ", 1)
		if _, err := workloadattestor.ParseStart([]byte(text)); !errors.Is(err, workloadattestor.ErrGone) {
			t.Errorf("state %s: got %v, want that the process is gone", state, err)
		}
	}
}

func stop(t *testing.T, commands ...*exec.Cmd) {
	t.Helper()
	for _, command := range commands {
		must(t, command.Process.Kill())
		_ = command.Wait()
	}
}
