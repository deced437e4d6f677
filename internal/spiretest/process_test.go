package spiretest_test

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startLimit = 30 * time.Second // until a program is ready
	stopLimit  = 20 * time.Second // until it has ended
	printed    = 8 << 10          // bytes of a program's log that a failure prints
)

// process is a program that a test started, and what it said.
type process struct {
	name  string
	said  *said
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // to be read after ended
}

// said keeps what a process said.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements [io.Writer].
func (s *said) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(text)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// launch starts a program that ends with the test at the latest; its log is printed if that failed.
func launch(t *testing.T, name, path string, arguments ...string) *process {
	t.Helper()
	p := &process{name: name, said: &said{}}
	command := exec.Command(path, arguments...) //nolint:gosec // built by the test, or SPIRE
	command.Stdout, command.Stderr = p.said, p.said
	p.start(t, command)
	return p
}

// piped is launch for a program that is asked over its standard input.
func piped(
	t *testing.T, name, path string, arguments ...string,
) (*process, io.WriteCloser, io.Reader) {
	t.Helper()
	p := &process{name: name, said: &said{}}
	command := exec.Command(path, arguments...) //nolint:gosec // built by the test
	command.Stderr = p.said
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.start(t, command)
	return p, input, output
}

// start starts the command from a thread of its own, which waits for it: the kernel's death signal
// comes when the thread ends that started a process, so nothing outlives a test that was killed.
func (p *process) start(t *testing.T, command *exec.Cmd) {
	t.Helper()
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	p.cmd, p.ended = command, make(chan struct{})
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			p.err = command.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("%s does not start: %v", p.name, err)
	}
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			text := p.said.String()
			if len(text) > printed {
				text = "[...]" + text[len(text)-printed:]
			}
			t.Logf("%s said:\n%s", p.name, text)
		}
	})
}

// pid is the number of the process.
func (p *process) pid() int { return p.cmd.Process.Pid }

// running reports whether the process has not ended.
func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// signal sends a signal to the process alone, not to its children.
func (p *process) signal(t *testing.T, number syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(number); err != nil {
		t.Fatalf("signal %v to %s: %v", number, p.name, err)
	}
}

// kill ends the process as a loss of power does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// stop ends the process in order. One that ended is left alone, one that was stopped goes on first.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if !p.running() {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopLimit):
		p.kill()
		t.Errorf("%s did not stop in %s when it was told to", p.name, stopLimit)
	}
}

// awaitEnd wants the process to end by itself.
func (p *process) awaitEnd(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(within):
		t.Fatalf("%s still runs after %s", p.name, within)
	}
}

// ready waits until try does not fail any more.
func (p *process) ready(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.Now().Add(startLimit)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-p.ended:
			t.Fatalf("%s ended: %v", p.name, p.err)
		case <-time.After(3 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready after %s: %v", p.name, startLimit, err)
		}
	}
}

// children are the processes below this one whose command line has the words, youngest last.
func (p *process) children(words ...string) []int {
	parents := map[int]int{}
	lines := map[int]string{}
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		number, _ := strconv.Atoi(filepath.Base(folder))
		stat, err := os.ReadFile(filepath.Join(folder, "stat")) //nolint:gosec // below /proc
		if err != nil {
			continue // it has ended
		}
		// proc(5): the name in brackets may hold anything; the state and the parent follow it.
		_, rest, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
		var state string
		var parent int
		if _, err := fmt.Sscan(string(rest), &state, &parent); err != nil || state == "Z" {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(folder, "cmdline")) //nolint:gosec // below /proc
		parents[number], lines[number] = parent, string(bytes.ReplaceAll(line, []byte{0}, []byte(" ")))
	}
	var out []int
	depth := map[int]int{}
	for number, line := range lines {
		above := parents[number]
		for above > 1 && above != p.pid() {
			above = parents[above]
			depth[number]++
		}
		if above == p.pid() && !slices.ContainsFunc(words, func(word string) bool {
			return !strings.Contains(line, word)
		}) {
			out = append(out, number)
		}
	}
	// By their place in the tree, and not by number: numbers begin again when there are no more.
	slices.SortFunc(out, func(a, b int) int { return cmp.Or(depth[a]-depth[b], a-b) })
	return out
}

// until waits for something that happens by itself, and reports whether it did.
func until(within time.Duration, happened func() bool) bool {
	for deadline := time.Now().Add(within); !happened(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

func write(t *testing.T, path string, document []byte) {
	t.Helper()
	if err := os.WriteFile(path, document, 0o600); err != nil {
		t.Fatal(err)
	}
}
