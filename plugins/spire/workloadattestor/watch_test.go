package workloadattestor_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/host"
	"github.com/attestd/attestd/plugins/spire/workloadattestor"
	"github.com/attestd/attestd/plugins/spire/workloadattestor/ask"
)

// moved makes the plugin by a clock that the test moves.
func moved(m *movable) func(host.Env) (host.Plugin, error) {
	return func(env host.Env) (host.Plugin, error) {
		return workloadattestor.NewAt(env, m.clock(), "/nonexistent", nil)
	}
}

func TestANodeThatIsAdmittedGivesSelectors(t *testing.T) {
	a := makeAuthority(t)
	f := serveHere(t, a)
	n := newNode(t, workloadattestor.New)
	n.configure(t)
	self := os.Getpid()
	if got := n.attest(t, self); got != nil {
		t.Fatalf("before anything was said: got %q", got)
	}
	n.enlist(t, a, agentID, f.address)
	_, took := n.await(t, self, true, 5*time.Second)
	t.Logf("from the enlistment to selectors: %s", took)
	command := start(t, "/bin/sleep", "60")
	sleep, err := filepath.EvalSymlinks("/bin/sleep")
	must(t, err)
	digest := digestOf(t, sleep)
	f.change(f.says(func(s *wire.Snapshot) {
		s.WorkloadsRevision, s.Workloads = "r2", map[string]string{digest: "sleeper"}
	}))
	want := []string{"admitted:yes", "state:trusted", "tier:low", "tenant:acme", "sha256:" + digest, "workload:sleeper"}
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		got := n.attest(t, command.Process.Pid)
		if slices.Equal(got, want) {
			break
		}
		if time.Since(began) > 5*time.Second {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	// Names stay where they do not change.
	f.change(f.says(func(s *wire.Snapshot) { s.WorkloadsRevision = "r2" }))
	time.Sleep(300 * time.Millisecond)
	if got := n.attest(t, command.Process.Pid); !slices.Equal(got, want) {
		t.Errorf("the same revision: got %q, want %q", got, want)
	}

	t.Run("quarantine takes all of them at once", func(t *testing.T) {
		f.change(f.says(func(s *wire.Snapshot) { s.Admitted, s.State = false, attestd.StateQuarantined }))
		_, took := n.await(t, command.Process.Pid, false, time.Second)
		t.Logf("from the change to no selectors: %s", took)
		answer, err := ask.Ask(t.Context(), n.dir, int32(command.Process.Pid))
		must(t, err)
		if len(answer.Selectors) != 0 || len(answer.Reasons) == 0 || answer.Node.Admitted ||
			answer.Node.State != attestd.StateQuarantined || answer.Process.SHA256 != digest {
			t.Errorf("got %+v", answer)
		}
		f.change(f.says(func(*wire.Snapshot) {}))
		n.await(t, command.Process.Pid, true, time.Second)
	})
	t.Run("one who asks is told the same", func(t *testing.T) {
		answer, err := ask.Ask(t.Context(), n.dir, int32(command.Process.Pid))
		must(t, err)
		if !slices.Equal(answer.Selectors, n.attest(t, command.Process.Pid)) || !answer.Node.Admitted ||
			!answer.Process.Alive || answer.Process.Path != sleep || answer.Node.Address != f.address ||
			answer.Node.AgentID != agentID || answer.Node.Tenant != "acme" || answer.Node.Problem != "" ||
			answer.Node.AgeMillis < 0 || answer.Node.AgeMillis > 2000 || answer.Node.BoundMillis != 10000 {
			t.Errorf("got %+v", answer)
		}
		answer, err = ask.Ask(t.Context(), n.dir, 0)
		must(t, err)
		if len(answer.Reasons) != 0 || len(answer.Selectors) != 0 || !answer.Node.Admitted {
			t.Errorf("about the node alone: got %+v", answer)
		}
	})
	t.Run("a new key makes a new stream, and nothing blinks", func(t *testing.T) {
		ended, blinks := make(chan struct{}), make(chan int)
		go func() {
			count := 0
			for {
				select {
				case <-ended:
					blinks <- count
					return
				default:
					if len(n.attest(t, command.Process.Pid)) == 0 {
						count++
					}
				}
			}
		}()
		n.enlist(t, a, agentID, f.address)
		n.enlist(t, a, agentID, f.address)
		time.Sleep(time.Second)
		close(ended)
		if count := <-blinks; count != 0 {
			t.Errorf("%d times no selectors", count)
		}
	})
	t.Run("another id is another node", func(t *testing.T) {
		n.enlist(t, a, otherID, f.address)
		n.await(t, command.Process.Pid, false, 2*time.Second)
		time.Sleep(500 * time.Millisecond) // snapshots of the node that it was keep coming
		if got := n.attest(t, command.Process.Pid); got != nil {
			t.Errorf("got %q by snapshots of another node", got)
		}
	})
}

// TestSelectorsEndWhenAttestdIsSilent by a clock that the test moves, to the millisecond.
func TestSelectorsEndWhenAttestdIsSilent(t *testing.T) {
	m := &movable{}
	a := makeAuthority(t)
	f := serveHere(t, a)
	n := newNode(t, moved(m))
	n.configure(t, `withhold_after = "4s"`)
	n.enlist(t, a, agentID, f.address)
	self := os.Getpid()
	n.await(t, self, true, 5*time.Second)
	f.change(func(time.Time) (wire.Signed, bool) { return wire.Signed{}, false })
	time.Sleep(50 * time.Millisecond) // what was under way has come
	m.steady.Add(int64(3 * time.Second))
	if got := n.attest(t, self); len(got) == 0 {
		t.Error("3 s after the last snapshot nothing is given, want selectors until 4 s")
	}
	m.steady.Add(int64(time.Second))
	if got := n.attest(t, self); got != nil {
		t.Errorf("4 s after the last snapshot: got %q", got)
	}
	// Who sets the clock of the day back changes nothing.
	m.wall.Add(-int64(time.Hour))
	if got := n.attest(t, self); got != nil {
		t.Errorf("with the time of day set back: got %q", got)
	}
	m.wall.Store(0)
	// The bound that is configured is the one that counts from then on.
	n.configure(t, `withhold_after = "60s"`)
	if got := n.attest(t, self); len(got) == 0 {
		t.Error("within a longer bound nothing is given")
	}
	f.change(f.says(func(*wire.Snapshot) {}))
	n.configure(t)
	n.await(t, self, true, 5*time.Second)
}

// TestAStoppedAttestdEndsSelectors is the same with a process that SIGSTOP stops, whose connection
// stays open, and the clock that nobody moves.
func TestAStoppedAttestdEndsSelectors(t *testing.T) {
	n := newNode(t, workloadattestor.New)
	n.configure(t, `withhold_after = "3s"`)
	other := n.other(t)
	self := os.Getpid()
	n.await(t, self, true, 5*time.Second)
	must(t, other.Process.Signal(syscall.SIGSTOP))
	stopped := time.Now()
	n.await(t, self, false, 10*time.Second)
	if took := time.Since(stopped); took > 3500*time.Millisecond || took < 2*time.Second {
		t.Errorf("selectors ended %s after the stop, want about 3 s", took)
	} else {
		t.Logf("selectors ended %s after the stop", took)
	}
	must(t, other.Process.Signal(syscall.SIGCONT))
	_, took := n.await(t, self, true, 10*time.Second)
	t.Logf("and were back %s after it went on", took)
}

// TestAKilledAttestdIsFoundAgainElsewhere: selectors stay over the change of address.
func TestAKilledAttestdIsFoundAgainElsewhere(t *testing.T) {
	a := makeAuthority(t)
	first, second := serveHere(t, a), serveHere(t, a)
	n := newNode(t, workloadattestor.New)
	n.configure(t)
	n.enlist(t, a, agentID, first.address, second.address)
	self := os.Getpid()
	n.await(t, self, true, 5*time.Second)
	// Silent, not closed: nothing but the missing snapshots says so.
	first.change(func(time.Time) (wire.Signed, bool) { return wire.Signed{}, false })
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if got := n.attest(t, self); len(got) == 0 {
			t.Fatalf("no selectors %s after the first address fell silent", time.Since(began))
		}
		answer, err := ask.Ask(t.Context(), n.dir, 0)
		must(t, err)
		if answer.Node.Address == second.address {
			t.Logf("the second address was in use after %s", time.Since(began))
			break
		}
		if time.Since(began) > 9*time.Second {
			t.Fatalf("the second address was not tried: %+v", answer.Node)
		}
	}
}

// TestAStreamThatIsNotAttestdsOfThisNodeGivesNothing: whatever the connection says of itself.
func TestAStreamThatIsNotAttestdsOfThisNodeGivesNothing(t *testing.T) {
	self := os.Getpid()
	rows := []struct {
		name    string
		watched func(*wire.Watching)
		enlist  func(testing.TB, *node, *authority, string)
		want    string
	}{
		{"attestd knows it as another node", func(w *wire.Watching) { w.AgentID = otherID }, nil, "want \"" + agentID},
		{"attestd does not say its time", func(w *wire.Watching) { w.Now = time.Time{} }, nil, "did not say its time"},
		{"snapshots are to come never", func(w *wire.Watching) { w.EverySeconds = 0 }, nil, "did not say its time"},
		{"an id that is no agent", nil, func(t testing.TB, n *node, a *authority, address string) {
			// The key alone, and what is put with it, is another matter than an attestation.
			n.generate(t)
			key, err := n.client.Newest(t.Context())
			must(t, err)
			enlisted := a.enlist(t, key.SPKI, agentID, address)
			enlisted.AgentID = "spiffe://example.org/web"
			must(t, n.client.PutEnlist(t.Context(), enlisted))
		}, "no agent of \"example.org\""},
		{"another attestd at the address", nil, func(t testing.TB, n *node, a *authority, address string) {
			other := makeAuthority(t)
			n.enlist(t, other, agentID, address)
		}, "certificate"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			a := makeAuthority(t)
			f := serveHere(t, a)
			f.watched = row.watched
			n := newNode(t, workloadattestor.New)
			n.configure(t)
			if row.enlist == nil {
				n.enlist(t, a, agentID, f.address)
			} else {
				row.enlist(t, n, a, f.address)
			}
			var answer ask.Answer
			for began := time.Now(); time.Since(began) < 5*time.Second; time.Sleep(10 * time.Millisecond) {
				if got := n.attest(t, self); got != nil {
					t.Fatalf("got %q", got)
				}
				var err error
				answer, err = ask.Ask(t.Context(), n.dir, 0)
				must(t, err)
				if strings.Contains(answer.Node.Problem, row.want) {
					return
				}
			}
			t.Errorf("the status says %q, want %q", answer.Node.Problem, row.want)
		})
	}
}

// TestACertificateThatEndedIsNotShown: each attempt would cost a signature of the agent's key.
func TestACertificateThatEndedIsNotShown(t *testing.T) {
	m := &movable{}
	m.wall.Store(int64(2 * time.Hour))
	a := makeAuthority(t)
	f := serveHere(t, a)
	n := newNode(t, moved(m))
	n.configure(t)
	n.enlist(t, a, agentID, f.address)
	time.Sleep(300 * time.Millisecond)
	answer, err := ask.Ask(t.Context(), n.dir, 0)
	must(t, err)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !strings.Contains(answer.Node.Problem, "ended at") || f.watches != 0 {
		t.Errorf("got %q and %d watches", answer.Node.Problem, f.watches)
	}
}
