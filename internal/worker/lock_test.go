package worker_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/worker"
)

const killed = "" // by the filter, at the call

// TestBehindTheLock: each row is tried by a worker of its own, inside the judge, as evidence that
// took it over would.
func TestBehindTheLock(t *testing.T) {
	rows := map[string]string{
		"open a file": killed, "create a file": killed, "socket inet": killed,
		"socket inet6 udp": killed, "socket unix": killed, "socket netlink": killed,
		"connect": killed, "bind": killed, "listen": killed, "receive files": killed,
		"send files": killed, "execve": killed, "start a program": killed, "fork": killed,
		"new namespace": killed, "ptrace": killed, "read parent's memory": killed,
		"signal another": killed, "executable memory": killed, "map a file": killed,
		"io_uring": killed,

		"clone3":                 unix.ENOSYS.Error(),
		"make memory executable": unix.EPERM.Error(),
		"kill another":           unix.EPERM.Error(),
		"raise limits":           unix.EPERM.Error(),
		"become root":            unix.EPERM.Error(),
		"lift no-new":            unix.EPERM.Error(),
		"second filter":          unix.EPERM.Error(),
		"read a socket":          unix.EPERM.Error(),
		"change folder":          unix.EPERM.Error(),
		"delete a file":          unix.EPERM.Error(),
		"status of file":         unix.EPERM.Error(),
		"duplicate":              unix.EPERM.Error(),
		"control device":         unix.EPERM.Error(),
	}
	if runtime.GOARCH == "amd64" {
		rows["x32 call"] = killed
	}
	pool, _ := newPool(t, "test-worker", nil)
	for order, want := range rows {
		t.Run(order, func(t *testing.T) {
			_, err := pool.Judge(context.Background(), jobFor(t, order))
			if want == killed {
				var fault *worker.Fault
				if !errors.As(err, &fault) || fault.Reason != worker.ReasonDied ||
					!strings.Contains(err.Error(), "bad system call") {
					t.Fatalf("got %v, want the worker killed by the filter", err)
				}
				return
			}
			var caller *attestd.CallerError
			if !errors.As(err, &caller) || err.Error() != want {
				t.Fatalf("got %v, want %q", err, want)
			}
		})
	}
	if _, err := os.Stat("/tmp/attestd-probe"); err == nil {
		t.Error("a worker made a file")
	}
	mustServe(t, pool)
}

// TestTheRuntimeLivesBehindTheFilter: a filter that is too narrow would show as a dead or hung
// worker under load, long after the start.
func TestTheRuntimeLivesBehindTheFilter(t *testing.T) {
	pool, log := newPool(t, "test-worker", func(c *worker.Config) { c.Timeout = 30 * time.Second })
	for _, order := range []string{"allocate", "threads", "allocate", "threads", "threads"} {
		if _, err := pool.Judge(context.Background(), jobFor(t, order)); err != nil {
			t.Fatalf("%s: %v", order, err)
		}
	}
	pid := pids(t, log)[0]
	// A stop and a continue make the kernel restart sleeps by restart_syscall.
	for range 5 {
		_ = unix.Kill(pid, unix.SIGSTOP)
		time.Sleep(5 * time.Millisecond)
		_ = unix.Kill(pid, unix.SIGCONT)
		mustServe(t, pool)
	}
	if stats := pool.Stats(); stats.Started != 1 || stats.Faults != 0 {
		t.Errorf("got %+v, want the first worker to have lived through all of it\n%s", stats, log)
	}
}

// TestMemoryIsBounded: evidence that makes a worker ask for ever more memory ends the worker, not
// the machine.
func TestMemoryIsBounded(t *testing.T) {
	pool, log := newPool(t, "test-worker", func(c *worker.Config) {
		c.Memory, c.Timeout = 192<<20, 20*time.Second
	})
	_, err := pool.Judge(context.Background(), jobFor(t, "gorge"))
	var fault *worker.Fault
	if !errors.As(err, &fault) || fault.Reason != worker.ReasonDied {
		t.Fatalf("got %v, want the worker dead", err)
	}
	waitUntil(t, "the log says why", func() bool { return strings.Contains(log.String(), "out of memory") })
	mustServe(t, pool)
}

// TestEveryThreadIsLocked reads what the kernel says about each thread of a worker.
func TestEveryThreadIsLocked(t *testing.T) {
	pool, log := newPool(t, "test-worker", nil)
	if _, err := pool.Judge(context.Background(), jobFor(t, "threads")); err != nil {
		t.Fatal(err)
	}
	folder := "/proc/" + pidText(t, log) + "/task/"
	tasks, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, task := range tasks {
		status, err := os.ReadFile(folder + task.Name() + "/status")
		if errors.Is(err, fs.ErrNotExist) {
			continue // the thread has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		seen++
		for _, want := range []string{
			"\nSeccomp:\t2\n", "\nNoNewPrivs:\t1\n", "\nCapEff:\t0000000000000000\n",
			"\nCapPrm:\t0000000000000000\n",
		} {
			if !strings.Contains(string(status), want) {
				t.Errorf("thread %s: status has no line %q", task.Name(), strings.TrimSpace(want))
			}
		}
	}
	if seen == 0 {
		t.Error("no thread was looked at")
	}
	limits, err := os.ReadFile("/proc/" + pidText(t, log) + "/limits")
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Join(strings.Fields(string(limits)), " ")
	for _, want := range []string{
		"Max core file size 0 0 ", "Max open files 16 16 ", "Max file size 0 0 ",
		"Max data size 1073741824 1073741824 ",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("limits have no %q:\n%s", want, limits)
		}
	}
	// A process that is not dumpable belongs to root in /proc, whoever runs it.
	environ, err := os.ReadFile("/proc/" + pidText(t, log) + "/environ")
	if os.Getuid() != 0 && !errors.Is(err, os.ErrPermission) {
		t.Errorf("reading the environment of a worker: %v, want permission denied", err)
	}
	if len(environ) != 0 {
		t.Errorf("a worker has an environment: %q", environ)
	}
}

// TestLandlockAlone: the layer holds by itself, on threads from before and after it.
func TestLandlockAlone(t *testing.T) {
	err := exec.Command(workerBinary, "landlocked").Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == 2:
		t.Log("this kernel has no Landlock")
	case err != nil:
		t.Errorf("a file was opened behind Landlock: %v", err)
	}
}

// TestWithoutSeccompNothingStarts: a service manager that forbids the system call leaves attestd
// without workers, not with unlocked ones.
func TestWithoutSeccompNothingStarts(t *testing.T) {
	_, err := worker.NewPool(worker.Config{
		Command: []string{workerBinary, "forbidden-worker"}, Size: 1, Logger: slog.New(slog.DiscardHandler),
	})
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig ||
		!strings.Contains(err.Error(), "seccomp: operation not permitted") || caller.Hint == "" {
		t.Fatalf("got %v, want a CONFIG error about seccomp, with a hint", err)
	}
}

// TestAsAnUnprivilegedUser: the lock needs no privilege, and being root is no way around it.
func TestAsAnUnprivilegedUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("this run is itself unprivileged")
		return
	}
	binary := filepath.Join(t.TempDir(), "worker.test")
	copyFile(t, workerBinary, binary)
	for folder := filepath.Dir(binary); folder != "/"; folder = filepath.Dir(folder) {
		if info, err := os.Stat(folder); err != nil || info.Mode().Perm()&0o001 == 0 {
			if err := os.Chmod(folder, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	run := exec.Command(binary, "-test.run",
		"^(TestBehindTheLock|TestTheRuntimeLivesBehindTheFilter|TestAWorkerJudgesLikeTheJudge|"+
			"TestAFault.*|TestEveryThreadIsLocked|TestLandlockAlone)$")
	run.Dir = "/"
	run.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := run.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "PASS") {
		t.Fatalf("as user 65534: %v\n%s", err, out)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o755) //nolint:gosec // a program that another user runs
	}
	if err != nil {
		t.Fatal(err)
	}
}
