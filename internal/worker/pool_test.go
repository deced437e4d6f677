package worker_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/worker"
)

var _ service.Judge = (*worker.Pool)(nil)

// TestAFaultIsNeverAVerdict: whatever a worker does instead of answering, its request gets an error
// without a word of verdict, and the next request is served.
func TestAFaultIsNeverAVerdict(t *testing.T) {
	pool, log := newPool(t, "test-worker", func(c *worker.Config) { c.Timeout = 300 * time.Millisecond })
	for _, row := range []struct {
		name, order string
		want        worker.Reason
		logged      string
	}{
		{"a panic ends the worker", "panic", worker.ReasonDied, "told to"},
		{"an exit ends the worker", "exit", worker.ReasonDied, "exit status 7"},
		{"a worker that sleeps for ever is replaced", "hang", worker.ReasonTimeout, "no answer in time"},
		{"a worker that loops for ever is replaced", "spin", worker.ReasonTimeout, "no answer in time"},
		{"words that are no frame are no verdict", "garbage", worker.ReasonGarbage, "frame announces"},
		{"a frame over the cap is not read", "oversize", worker.ReasonGarbage, "frame announces 1048577 bytes"},
		{"two replies to one request are none", "twice", worker.ReasonGarbage, "more than one reply"},
		{"a judge that fails is a bug", "bug", worker.ReasonBug, "told to fail ?[31m"},
		{"a worker cannot speak for identities", "impersonate", worker.ReasonGarbage, "no class of theirs"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := pool.Judge(context.Background(), jobFor(t, row.order))
			var fault *worker.Fault
			if !errors.As(err, &fault) || fault.Reason != row.want {
				t.Fatalf("got error %v, want a fault for reason %s", err, row.want)
			}
			if late := row.want == worker.ReasonTimeout; errors.Is(err, context.DeadlineExceeded) != late {
				t.Errorf("got %v, want the error of a deadline: %t", err, late)
			}
			if got.Schema != "" || got.Verdict != attestd.VerdictUndecided || got.Risk.Int() != 100 {
				t.Errorf("got a verdict beside the error: %+v", got)
			}
			mustServe(t, pool)
			if !strings.Contains(log.String(), row.logged) {
				t.Errorf("log does not say %q:\n%s", row.logged, log)
			}
		})
	}
	if strings.ContainsRune(log.String(), 0x1b) {
		t.Error("an escape character of a worker reached the log")
	}
}

// TestACallerErrorCrosses: what is the caller's to mend is no fault, and the worker stays.
func TestACallerErrorCrosses(t *testing.T) {
	pool, _ := newPool(t, "test-worker", nil)
	_, err := pool.Judge(context.Background(), jobFor(t, "caller"))
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != attestd.ClassUnsupported || caller.Hint != "a hint" {
		t.Fatalf("got %v, want the worker's CallerError", err)
	}
	if stats := pool.Stats(); stats.Started != 1 || stats.Faults != 0 {
		t.Errorf("got %+v, want one worker and no fault", stats)
	}
}

// TestJobsThatCannotBeAsked never reach a worker.
func TestJobsThatCannotBeAsked(t *testing.T) {
	pool, _ := newPool(t, "test-worker", nil)
	for _, row := range []struct {
		name   string
		change func(*service.Job)
		want   string
	}{
		{"no demand at all", func(j *service.Job) { j.Demand = service.DemandSpec{} }, "unknown demand mode"},
		{"a nonce that is too short", func(j *service.Job) {
			j.Demand = service.DemandSpec{Mode: service.DemandNonce, Nonce: []byte("short")}
		}, "nonce has 5 bytes"},
		{"no policy", func(j *service.Job) { j.Policy = service.Document{Source: "x"} }, ""},
		{"evidence over the frame's cap", func(j *service.Job) { j.Evidence = make([]byte, 4<<20) }, "frame has"},
		{"reference values over the frame's cap", func(j *service.Job) {
			j.References = []service.Document{{Source: "x", Bytes: make([]byte, 16<<20)}}
		}, "frame has"},
	} {
		t.Run(row.name, func(t *testing.T) {
			job := jobFor(t, "x")
			row.change(&job)
			_, err := pool.Judge(context.Background(), job)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want an error with %q", err, row.want)
			}
			var fault *worker.Fault
			if errors.As(err, &fault) {
				t.Errorf("got fault %v for what is the caller's", err)
			}
		})
	}
	if stats := pool.Stats(); stats.Started != 1 || stats.Faults != 0 || stats.Served != 0 {
		t.Errorf("got %+v, want nothing served and no fault", stats)
	}
}

var pidInLog = regexp.MustCompile(`"?worker started"? pid=(\d+)`)

func pids(t *testing.T, log *lockedBuffer) []int {
	t.Helper()
	var list []int
	for _, match := range pidInLog.FindAllStringSubmatch(log.String(), -1) {
		pid, err := strconv.Atoi(match[1])
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, pid)
	}
	return list
}

// TestKillNine: a worker that is killed in the middle of a request or between two is replaced, and
// the others go on.
func TestKillNine(t *testing.T) {
	pool, log := newPool(t, "test-worker", func(c *worker.Config) { c.Size = 2 })
	for turn := range 3 {
		all := pids(t, log)
		if err := unix.Kill(all[len(all)-1], unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, "the killed worker is replaced", func() bool {
			return pool.Stats().Started == int64(3+turn) && pool.Stats().Live == 2
		})
		mustServe(t, pool)
		mustServe(t, pool)
	}
	hung := make(chan error, 1)
	go func() {
		_, err := pool.Judge(context.Background(), jobFor(t, "hang"))
		hung <- err
	}()
	time.Sleep(50 * time.Millisecond)
	mustServe(t, pool) // by the other
	for _, pid := range pids(t, log) {
		_ = unix.Kill(pid, unix.SIGKILL) // most have ended before
	}
	var fault *worker.Fault
	if err := <-hung; !errors.As(err, &fault) || fault.Reason != worker.ReasonDied {
		t.Fatalf("got %v, want a fault for reason died", err)
	}
	waitUntil(t, "both are replaced", func() bool {
		return pool.Stats().Started == 7 && pool.Stats().Live == 2
	})
	mustServe(t, pool)
}

// TestSignalsOfAServiceManager: a worker outlives the signal to stop that a service manager sends to
// every process, so that attestd can finish what it has begun.
func TestSignalsOfAServiceManager(t *testing.T) {
	pool, log := newPool(t, "test-worker", nil)
	for _, signal := range []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP} {
		if err := unix.Kill(pids(t, log)[0], signal); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
		mustServe(t, pool)
	}
	if stats := pool.Stats(); stats.Started != 1 {
		t.Errorf("got %+v, want the first worker to live", stats)
	}
}

// TestAnOrphanEnds: a worker whose attestd was killed in the middle of a request does not compute
// for ever.
func TestAnOrphanEnds(t *testing.T) {
	parent := exec.Command(workerBinary, "orphan-maker")
	out, err := parent.StdoutPipe()
	if err == nil {
		err = parent.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	_ = parent.Process.Kill()
	_ = parent.Wait()
	folder := "/proc/" + strings.TrimSpace(line)
	waitUntil(t, "the orphan ends", func() bool {
		status, err := os.ReadFile(folder + "/status")
		return err != nil || strings.Contains(string(status), "State:\tZ") // perhaps nobody waits for it
	})
}

func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in 5 s: %s", what)
		}
	}
}

// TestAThousandRequestsWithRecycling: replacements lose no request, and their number is exact.
func TestAThousandRequestsWithRecycling(t *testing.T) {
	pool, _ := newPool(t, "test-worker", func(c *worker.Config) { c.Size, c.Recycle = 2, 100 })
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 250 {
				if _, err := pool.Judge(context.Background(), jobFor(t, "x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	stats := pool.Stats()
	if stats.Served != 1000 || stats.Faults != 0 || stats.Started < 10 || stats.Started > 12 {
		t.Errorf("got %+v, want 1000 served, no fault, 10 to 12 processes", stats)
	}
}

// TestAnEndedContext returns at once, does not cost the worker, and does not let its reply reach the
// next request.
func TestAnEndedContext(t *testing.T) {
	pool, _ := newPool(t, "test-worker", func(c *worker.Config) { c.Timeout = time.Second })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, err := pool.Judge(ctx, jobFor(t, "hang")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the context's error", err)
	}
	if took := time.Since(begun); took > 500*time.Millisecond {
		t.Errorf("an ended context took %v", took)
	}
	mustServe(t, pool) // by the replacement, after the time-out of the first
	if _, err := pool.Judge(ctx, jobFor(t, "x")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the context's error", err)
	}
	mustServe(t, pool)
	if stats := pool.Stats(); stats.Started != 2 {
		t.Errorf("got %+v, want one replacement: only the worker that hung", stats)
	}
}

// TestABusyPool answers in a class that says "later", not "bug" and not a verdict.
func TestABusyPool(t *testing.T) {
	pool, _ := newPool(t, "test-worker", func(c *worker.Config) { c.Timeout = 200 * time.Millisecond })
	var group sync.WaitGroup
	busy := make(chan error, 8)
	for range 8 {
		group.Go(func() {
			_, err := pool.Judge(context.Background(), jobFor(t, "hang"))
			busy <- err
		})
	}
	group.Wait()
	later := 0
	for range 8 {
		var caller *attestd.CallerError
		if errors.As(<-busy, &caller) && caller.Class == attestd.ClassRateLimited {
			later++
		}
	}
	if later == 0 {
		t.Error("no request was told to come later")
	}
}

// TestClose ends every process and answers what comes later with a fault.
func TestClose(t *testing.T) {
	pool, log := newPool(t, "test-worker", func(c *worker.Config) { c.Size = 2 })
	mustServe(t, pool)
	pool.Close()
	pool.Close()
	var fault *worker.Fault
	if _, err := pool.Judge(context.Background(), jobFor(t, "x")); !errors.As(err, &fault) {
		t.Fatalf("got %v, want a fault", err)
	}
	for _, pid := range pids(t, log) {
		if err := unix.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("worker %d after Close: %v, want no such process", pid, err)
		}
	}
}

// TestAPoolWithoutALockDoesNotStart: fail closed, with a hint.
func TestAPoolWithoutALockDoesNotStart(t *testing.T) {
	for _, row := range []struct {
		name    string
		command []string
		want    string
	}{
		{"a worker without a filter", []string{workerBinary, "unlocked-worker"}, "not under a seccomp filter"},
		{"a program that is no worker", []string{"/bin/true"}, "cannot start an isolated worker"},
		{"a program that is not there", []string{"/nonexistent/attestd", "worker"}, "no such file"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var config worker.Config
			pool, _ := newPool(t, "test-worker", func(c *worker.Config) { config = *c })
			pool.Close()
			config.Command = row.command
			_, err := worker.NewPool(config)
			var caller *attestd.CallerError
			if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig ||
				!strings.Contains(caller.Hint, "docs/isolation.md") || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want a CONFIG error with a hint that says %q", err, row.want)
			}
		})
	}
}

// TestAStormIsPaced: workers that die at once are not restarted without pause.
func TestAStormIsPaced(t *testing.T) {
	pool, _ := newPool(t, "test-worker", nil)
	begun := time.Now()
	for range 12 {
		_, _ = pool.Judge(context.Background(), jobFor(t, "exit"))
	}
	if took := time.Since(begun); took < 400*time.Millisecond {
		t.Errorf("12 deaths took %v: no pause between them", took)
	}
	mustServe(t, pool)
}

// TestInheritedFilesAreClosed: a file that our own parent left open does not reach a worker.
func TestInheritedFilesAreClosed(t *testing.T) {
	file, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	leaked, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD, 50) // without close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leaked)
	pool, _ := newPool(t, "test-worker", nil)
	_, err = pool.Judge(context.Background(), jobFor(t, "list files"))
	if err == nil || err.Error() != "0 3" { // /dev/null and the stream
		t.Fatalf("got %v readable in the worker, want 0 3", err)
	}
}
