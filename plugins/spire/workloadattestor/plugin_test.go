package workloadattestor_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/exp/proto/spiffe/broker"
	workloadattestorv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/workloadattestor/v1"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/host"
	"github.com/attestd/attestd/plugins/spire/workloadattestor"
	"github.com/attestd/attestd/plugins/spire/workloadattestor/ask"
)

// TestEveryProblemOfAConfigurationIsNamed by Configure and Validate alike. neg: 196
func TestEveryProblemOfAConfigurationIsNamed(t *testing.T) {
	n := newNode(t, workloadattestor.New)
	rows := []struct {
		name, hcl string
		want      []string
	}{
		{"nothing", "", []string{"runtime_dir: is missing"}},
		{"an unknown key", `runtime_dir = "` + n.dir + `"` + "\nfolder = \"/x\"", []string{"line 2: folder"}},
		{"an empty folder", `runtime_dir = ""`, []string{"runtime_dir: is empty"}},
		{"a folder that is not whole", `runtime_dir = "run"`, []string{"runtime_dir: want an absolute path"}},
		{"another trust domain", `runtime_dir = "` + n.dir + `"` + "\ntrust_domain = \"other.org\"",
			[]string{"trust_domain", "other.org"}},
		{"everything at once", "withhold_after = \"1s\"\nlargest_executable_mib = 0\nread_rate_mib = 999999",
			[]string{"runtime_dir: is missing", "withhold_after: got 1s", "largest_executable_mib: got 0",
				"read_rate_mib: got 999999"}},
		{"a bound that is too long", `runtime_dir = "` + n.dir + `"` + "\nwithhold_after = \"61s\"",
			[]string{"withhold_after: got 1m1s"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, err := n.config.Configure(t.Context(), request(row.hcl))
			if status.Code(err) != codes.InvalidArgument {
				t.Fatalf("got %v, want InvalidArgument", err)
			}
			checked, failed := n.config.Validate(t.Context(), &configv1.ValidateRequest{
				CoreConfiguration: &configv1.CoreConfiguration{TrustDomain: trustDomain}, HclConfiguration: row.hcl,
			})
			must(t, failed)
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) || !strings.Contains(strings.Join(checked.Notes, "; "), want) {
					t.Errorf("Configure said %q and Validate %q, want %q in both", err, checked.Notes, want)
				}
			}
			if checked.Valid {
				t.Error("Validate calls it valid")
			}
		})
	}
	t.Run("a folder that others may enter", func(t *testing.T) {
		open := filepath.Join(shortDir(t), "open")
		must(t, os.Mkdir(open, 0o755))
		if _, err := n.config.Configure(t.Context(), request(`runtime_dir = "`+open+`"`)); err == nil ||
			!strings.Contains(err.Error(), "0700") {
			t.Errorf("got %v", err)
		}
	})
	if _, err := n.attestor.Attest(t.Context(), &workloadattestorv1.AttestRequest{Pid: 1}); status.Code(err) !=
		codes.FailedPrecondition {
		t.Errorf("before a configuration: got %v, want FailedPrecondition", err)
	}
}

func TestAReferenceToAProcessIsAttestedAsTheProcess(t *testing.T) {
	a := makeAuthority(t)
	f := serveHere(t, a)
	n := newNode(t, workloadattestor.New)
	n.configure(t)
	n.enlist(t, a, agentID, f.address)
	self := os.Getpid()
	want, _ := n.await(t, self, true, 5*time.Second)
	refer := func(reference *anypb.Any) ([]string, error) {
		answer, err := n.attestor.AttestReference(t.Context(),
			&workloadattestorv1.AttestReferenceRequest{Reference: reference})
		return answer.GetSelectorValues(), err
	}
	process, err := anypb.New(&broker.WorkloadPIDReference{Pid: int32(self)})
	must(t, err)
	if got, err := refer(process); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q and %v, want %q", got, err, want)
	}
	pod, err := anypb.New(&broker.KubernetesObjectReference{})
	must(t, err)
	none, err := anypb.New(&broker.WorkloadPIDReference{})
	must(t, err)
	for name, reference := range map[string]*anypb.Any{
		"to something else": pod, "to no process": none, "that is not there": nil,
		"that cannot be read": {TypeUrl: process.TypeUrl, Value: []byte{0xff}},
		"of a process whose number is negative": {TypeUrl: process.TypeUrl,
			Value: []byte{8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}},
	} {
		if got, err := refer(reference); status.Code(err) != codes.InvalidArgument || got != nil {
			t.Errorf("a reference %s: got %q and %v, want InvalidArgument", name, got, err)
		}
	}
	if got := n.attest(t, 1<<22+1); got != nil {
		t.Errorf("a process that there cannot be: got %q", got)
	}
}

// TestTheNodesStateIsReadLast: a quarantine that comes while an executable is read holds for its process.
func TestTheNodesStateIsReadLast(t *testing.T) {
	a := makeAuthority(t)
	f := serveHere(t, a)
	var during atomic.Pointer[func()]
	var looks atomic.Int32
	n := newNode(t, func(env host.Env) (host.Plugin, error) {
		return workloadattestor.NewAt(env, workloadattestor.SystemClock(), "/nonexistent", func() {
			looks.Add(1)
			if run := during.Load(); run != nil {
				(*run)()
			}
		})
	})
	n.configure(t)
	// SPIRE's agent asks about itself when it starts, and waits.
	if got := n.attest(t, os.Getpid()); got != nil || looks.Load() != 0 {
		t.Errorf("of a node that is not admitted: got %q after %d looks, want none", got, looks.Load())
	}
	n.enlist(t, a, agentID, f.address)
	n.await(t, os.Getpid(), true, 5*time.Second)
	var hits atomic.Int32
	quarantine := func() {
		hits.Add(1)
		f.change(f.says(func(s *wire.Snapshot) { s.Admitted, s.State = false, attestd.StateQuarantined }))
		for range 1000 {
			answer, err := ask.Ask(context.Background(), n.dir, 0)
			if err == nil && !answer.Node.Admitted {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
	during.Store(&quarantine)
	if got := n.attest(t, os.Getpid()); got != nil || hits.Load() == 0 {
		t.Errorf("got %q after %d looks", got, hits.Load())
	}
}

// TestAPanicWhileAProcessIsLookedAtGivesNothing: the guard of all plugins turns it into Internal; here
// it is shown that nothing is left behind that holds the next call up. neg: 190
func TestAPanicWhileAProcessIsLookedAtGivesNothing(t *testing.T) {
	m := &movable{}
	panics := true
	inspector, err := workloadattestor.NewInspector(m.clock(), 1<<30, 1<<30, func() {
		if panics {
			panic("while a process is looked at")
		}
	})
	must(t, err)
	before := descriptors(t)
	for range 20 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic: the test shows nothing")
				}
			}()
			_, _, _, _ = inspector.Look(t.Context(), os.Getpid())
		}()
	}
	panics = false
	look(t, inspector, os.Getpid())
	if after := descriptors(t); after > before+2 {
		t.Errorf("%d descriptors are open, before %d", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

// TestAConfigurationChangesWhileProcessesAreAttested, and no selector blinks. neg: 200
func TestAConfigurationChangesWhileProcessesAreAttested(t *testing.T) {
	a := makeAuthority(t)
	f := serveHere(t, a)
	n := newNode(t, workloadattestor.New)
	n.configure(t)
	n.enlist(t, a, agentID, f.address)
	self := os.Getpid()
	want, _ := n.await(t, self, true, 5*time.Second)
	ended := make(chan struct{})
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				if got := n.attest(t, self); !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
					return
				}
			}
		})
	}
	work.Go(func() {
		for {
			select {
			case <-ended:
				return
			default:
			}
			if _, err := ask.Ask(context.Background(), n.dir, int32(self)); err != nil {
				t.Errorf("one who asks: %v", err)
				return
			}
		}
	})
	for _, bound := range []string{"5s", "10s", "20s", "7s", "10s"} {
		n.configure(t, `withhold_after = "`+bound+`"`)
		time.Sleep(20 * time.Millisecond)
	}
	close(ended)
	work.Wait()
	// Another folder is another key manager, of which nothing is known.
	other := filepath.Join(shortDir(t), "run")
	configure(t, &n.config, `runtime_dir = "`+other+`"`)
	if got := n.attest(t, self); got != nil {
		t.Errorf("by another key manager: got %q", got)
	}
	if _, err := ask.Ask(t.Context(), n.dir, 0); err == nil {
		t.Error("the old folder is still answered in")
	}
	n.configure(t)
	n.await(t, self, true, 5*time.Second)
}

// TestQuestionsAreAnsweredToWhoMayAsk and to nothing else.
func TestQuestionsAreAnsweredToWhoMayAsk(t *testing.T) {
	n := newNode(t, workloadattestor.New)
	n.configure(t)
	answer, err := ask.Ask(t.Context(), n.dir, int32(os.Getpid()))
	must(t, err)
	if len(answer.Selectors) != 0 || !answer.Process.Alive || answer.Process.SHA256 == "" ||
		!strings.Contains(strings.Join(answer.Reasons, "\n"), "no certificate of attestd's") {
		t.Errorf("a node that is not enlisted: got %+v", answer)
	}
	command := start(t, "/bin/sleep", "60")
	stop(t, command)
	answer, err = ask.Ask(t.Context(), n.dir, int32(command.Process.Pid))
	must(t, err)
	if answer.Process.Alive || !strings.Contains(strings.Join(answer.Reasons, "\n"), "ended") {
		t.Errorf("a process that ended: got %+v", answer)
	}
	if _, err := ask.Ask(t.Context(), shortDir(t), 0); err == nil {
		t.Error("a folder in which nobody answers: got an answer")
	}
	for _, text := range []string{"", "{}x", `{"pid":1,"more":2}`, strings.Repeat(" ", ask.MaxQuestion+1)} {
		if reply := raw(t, n.dir, text); reply != "" {
			t.Errorf("the question %.30q was answered: %s", text, reply)
		}
	}
	info, err := os.Stat(filepath.Join(n.dir, ask.SocketName))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %o", info.Mode().Perm())
	}
}
