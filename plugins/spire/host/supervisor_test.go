package host_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	composerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/credentialcomposer/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd/plugins/spire/host"
)

func pidOf(t *testing.T, text string) int {
	t.Helper()
	pid, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestTheNextCallSucceedsAfterTheChildWasKilled: SPIRE's connection stays the one it made at its start.
//
// neg: 191
func TestTheNextCallSucceedsAfterTheChildWasKilled(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "one")
	if err := s.configure(`word = "two"`); err != nil {
		t.Fatal(err)
	}
	s.ask("keep=a key of the agent")
	before := pidOf(t, s.ask("pid"))
	slowest := time.Duration(0)
	for round := 2; round < 8; round++ {
		s.killChild(before)
		began := time.Now()
		// Nobody is there when it is asked: the call waits in the socket's queue.
		after := pidOf(t, s.ask("pid"))
		slowest = max(slowest, time.Since(began))
		if after == before {
			t.Fatalf("round %d: still process %d", round, before)
		}
		if got := s.ask("starts"); got != strconv.Itoa(round) {
			t.Errorf("round %d: the child is number %s", round, got)
		}
		if got := s.ask("word"); got != "two" {
			t.Errorf("round %d: configured with %q, want the configuration of the child before", round, got)
		}
		if got := s.ask("kept"); got != "a key of the agent" {
			t.Errorf("round %d: kept %q", round, got)
		}
		before = after
	}
	t.Logf("the slowest first answer after a death took %s", slowest.Round(time.Millisecond))
	if slowest > 3*time.Second {
		t.Errorf("took %s, want under 3 s on the slowest machine", slowest)
	}
	if got := strings.Count(s.log.String(), "the plugin died and is started again"); got != 6 {
		t.Errorf("%d deaths are in SPIRE's log, want 6", got)
	}
}

// neg: 190
func TestAPanicInACallEndsThatCallAlone(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "one")
	before := s.ask("pid")
	_, err := s.try("panic")
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "disco") {
		t.Errorf("got %v, want Internal without the panic's own text", err)
	}
	if after := s.ask("pid"); after != before {
		t.Errorf("the plugin was process %s and is %s", before, after)
	}
	eventually(t, time.Second, "the panic is in SPIRE's log", func() bool {
		return strings.Contains(s.log.String(), "at the disco")
	})
}

func TestAPanicThatNothingRecoversCostsOneChild(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "one")
	before := s.ask("pid")
	if _, err := s.try("panic elsewhere"); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
	if after := s.ask("pid"); after == before {
		t.Error("the child is the same")
	}
	if got := s.ask("word"); got != "one" {
		t.Errorf("configured with %q", got)
	}
}

// TestNothingIsUnimplemented: at that code SPIRE issues a credential as if there were no composer.
func TestNothingIsUnimplemented(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "one")
	client := composerv1.NewCredentialComposerClient(s.conn)
	// The probe leaves this call to the type that answers Unimplemented.
	_, err := client.ComposeServerX509CA(t.Context(), &composerv1.ComposeServerX509CARequest{})
	if status.Code(err) != codes.Internal {
		t.Errorf("a call that was forgotten: got %v, want Internal", err)
	}
	for _, method := range []string{
		"/" + composerv1.CredentialComposer_ServiceDesc.ServiceName + "/ComposeWorkloadOfTomorrow",
		"/spire.plugin.server.credentialcomposer.v2.CredentialComposer/ComposeWorkloadJWTSVID",
	} {
		err = s.conn.Invoke(t.Context(), method, &composerv1.ComposeServerX509CARequest{},
			&composerv1.ComposeServerX509CAResponse{})
		if status.Code(err) != codes.Internal {
			t.Errorf("%s: got %v, want Internal", method, err)
		}
	}
}

// neg: 192
func TestAMessageOverTheLimitIsTheCallersFault(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "one")
	before := s.ask("pid")
	client := composerv1.NewCredentialComposerClient(s.conn)
	_, err := client.ComposeWorkloadX509SVID(t.Context(), &composerv1.ComposeWorkloadX509SVIDRequest{
		SpiffeId: "pid", PublicKey: make([]byte, host.MaxMessage+1),
	})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v, want InvalidArgument", err)
	}
	// This caller, like SPIRE, names no deadline.
	answer, err := client.ComposeWorkloadX509SVID(t.Context(), &composerv1.ComposeWorkloadX509SVIDRequest{
		SpiffeId: "deadline",
	})
	if got := answer.GetAttributes().GetDnsSans(); err != nil || got[0] != "true" {
		t.Errorf("a call has no deadline of its own: %v, %v", got, err)
	}
	if after := s.ask("pid"); after != before {
		t.Error("the child is another")
	}
}

func TestAConfigurationThatIsRefusedChangesNothing(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "one")
	if err := s.configure(`word = "forbidden"`); status.Code(err) != codes.InvalidArgument {
		t.Fatalf("got %v", err)
	}
	if got := s.ask("word"); got != "one" {
		t.Errorf("configured with %q", got)
	}
	s.killChild(pidOf(t, s.ask("pid")))
	if got := s.ask("word"); got != "one" {
		t.Errorf("the next child is configured with %q", got)
	}
}

// TestAConfigurationOutlivesTheChildThatTookIt: SPIRE was told that it holds.
func TestAConfigurationOutlivesTheChildThatTookIt(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "one")
	if err := s.configure(`word = "dies"`); err != nil {
		t.Fatal(err)
	}
	eventually(t, 3*time.Second, "another child answers", func() bool {
		got, err := s.try("starts")
		return err == nil && got == "2"
	})
	if got := s.ask("word"); got != "dies" {
		t.Errorf("configured with %q", got)
	}
}

func TestSPIREsShutdownLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(*spire){
		"from a plugin that runs": func(*spire) {},
		"from one whose child has just died": func(s *spire) {
			s.killChild(pidOf(t, s.ask("pid")))
		},
		"after the keyboard's interrupt": func(s *spire) {
			child := pidOf(t, s.ask("pid"))
			kill(t, s.command.Process.Pid, syscall.SIGINT)
			kill(t, child, syscall.SIGINT)
			kill(t, child, syscall.SIGTERM)
			time.Sleep(100 * time.Millisecond)
			if got := pidOf(t, s.ask("pid")); got != child {
				t.Error("a signal that SPIRE got as well has ended the child")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mustLoad(t, "one")
			before(s)
			supervisor := s.command.Process.Pid
			began := time.Now()
			s.client.Kill()
			took := time.Since(began)
			if strings.Contains(s.log.String(), "failed to exit gracefully") || took > 1900*time.Millisecond {
				t.Errorf("SPIRE had to kill the plugin, after %s\n%s", took, s.log)
			}
			if alive(supervisor) || len(children(t, supervisor)) != 0 {
				t.Error("a process is left")
			}
			if left, _ := filepath.Glob(filepath.Join(s.folder, "*")); len(left) != 0 {
				t.Errorf("left behind: %s", left)
			}
			if s.command.ProcessState.ExitCode() != 0 {
				t.Errorf("the supervisor ended with %s", s.command.ProcessState)
			}
		})
	}
}

func TestTheChildDiesWithItsSupervisor(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGQUIT} {
		s := mustLoad(t, "one")
		child := pidOf(t, s.ask("pid"))
		kill(t, s.command.Process.Pid, signal)
		eventually(t, 2*time.Second, "the child is gone", func() bool { return !alive(child) })
	}
}

// TestAChildWithoutASupervisorEnds, also where the kernel did not see to it.
func TestAChildWithoutASupervisorEnds(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	socket, err := listener.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	fromChild, up, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	down, toChild, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), os.Args[0], probeName)
	command.Env = []string{kind + "=" + kind, "ATTESTD_SPIRE_CHILD=1"}
	command.ExtraFiles = []*os.File{socket, up, down, fromChild}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	_ = up.Close()
	if _, err := toChild.Write([]byte{'N', 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, 5+len(kind))
	if _, err := io.ReadFull(fromChild, ready); err != nil || string(ready[5:]) != kind {
		t.Fatalf("the child says %q, %v", ready, err)
	}
	time.Sleep(100 * time.Millisecond)
	if !alive(command.Process.Pid) {
		t.Fatal("the child has ended by itself")
	}
	_ = toChild.Close()
	if err := command.Wait(); command.ProcessState.ExitCode() != 1 {
		t.Errorf("the child ended with %v", err)
	}
}

func TestASupervisorThatIsTerminatedEndsWithoutSPIRE(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "one")
	child := pidOf(t, s.ask("pid"))
	kill(t, s.command.Process.Pid, syscall.SIGTERM)
	// SPIRE was asked to end too, and needs its plugins until it does.
	time.Sleep(200 * time.Millisecond)
	if got := pidOf(t, s.ask("pid")); got != child {
		t.Error("the child is another")
	}
	eventually(t, 8*time.Second, "both are gone", func() bool {
		return !alive(s.command.Process.Pid) && !alive(child)
	})
}

// leaveChildBehind starts a plugin without the kernel's help and goes away, as a SPIRE would whose
// thread had moved on: what is left must see it by itself.
func leaveChildBehind() int {
	command := exec.Command(os.Args[0], probeName)
	command.Env = append(os.Environ(), kind+"="+kind)
	out, err := command.StdoutPipe()
	if err != nil {
		return 1
	}
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		return 1
	}
	line := make([]byte, 200)
	n, err := out.Read(line)
	if err != nil {
		return 1
	}
	fmt.Printf("%d %s", command.Process.Pid, line[:n])
	return 0
}

func TestASupervisorWhoseParentIsGoneEnds(t *testing.T) {
	t.Parallel()
	folder, err := os.MkdirTemp("", "h")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	command := exec.Command(os.Args[0], parentName)
	command.Env = []string{"PLUGIN_UNIX_SOCKET_DIR=" + folder}
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	pid := pidOf(t, strings.Fields(string(out))[0])
	inside := children(t, pid)
	eventually(t, 3*time.Second, "the supervisor and its child are gone", func() bool {
		for _, child := range inside {
			if alive(child) {
				return false
			}
		}
		return !alive(pid)
	})
	if left, _ := filepath.Glob(filepath.Join(folder, "*")); len(left) != 0 {
		t.Errorf("left behind: %s", left)
	}
}

func TestWhatAKilledSupervisorLeftIsRemoved(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "one")
	mine := filepath.Join(s.folder, "attestd-spire-*")
	held, _ := filepath.Glob(mine)
	stale := filepath.Join(s.folder, "attestd-spire-stale")
	young := filepath.Join(s.folder, "attestd-spire-young")
	for _, path := range []string{stale, young} {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-time.Hour)
	for _, path := range append(held, stale) {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	other := exec.Command(os.Args[0], probeName)
	other.Env = []string{"PLUGIN_UNIX_SOCKET_DIR=" + s.folder}
	_ = other.Run() // ends at once, for want of a handshake
	left, _ := filepath.Glob(mine)
	if len(held) != 1 || len(left) != 2 || left[0] != held[0] && left[1] != held[0] {
		t.Errorf("left %s, want the one in use (%s) and the young one", left, held)
	}
	if got := s.ask("word"); got != "one" {
		t.Errorf("got %q", got)
	}
}

func TestAPluginThatCannotStartSaysSoToSPIRE(t *testing.T) {
	t.Parallel()
	for _, name := range []string{brokenName, needyName} {
		s, err := load(t, name)
		if err == nil {
			t.Errorf("%s started", name)
		}
		eventually(t, 2*time.Second, "the supervisor is gone", func() bool { return !alive(s.command.Process.Pid) })
		want := map[string]string{brokenName: "no such luck", needyName: "needs host services"}[name]
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("SPIRE's log does not say %q:\n%s", want, s.log)
		}
	}
	// A caller that demands TLS.
	if s, err := load(t, probeName, "PLUGIN_CLIENT_CERT=some"); err == nil {
		t.Errorf("started without the TLS that was demanded\n%s", s.log)
	}
}

func TestAPluginStartedByHandSaysWhoStartsIt(t *testing.T) {
	t.Parallel()
	command := exec.Command(os.Args[0], probeName)
	var stderr bytes.Buffer
	command.Env, command.Stderr = []string{"TMPDIR=" + t.TempDir()}, &stderr
	out, _ := command.Output()
	if command.ProcessState.ExitCode() != 2 || !strings.Contains(stderr.String(), "plugin_cmd") {
		t.Errorf("ended with %s and said %s", command.ProcessState, &stderr)
	}
	if len(out) != 0 {
		t.Errorf("standard output has %q, which is for SPIRE alone", out)
	}
}

// TestNothingButTheHandshakeReachesStandardOutput: SPIRE reads what stands there as an address.
func TestNothingButTheHandshakeReachesStandardOutput(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "one")
	s.ask("print")
	eventually(t, 2*time.Second, "what the plugin prints is in SPIRE's log", func() bool {
		return strings.Contains(s.log.String(), "1|1|tcp|127.0.0.1:1|grpc|")
	})
	command := exec.CommandContext(t.Context(), os.Args[0], probeName)
	command.Env = []string{kind + "=" + kind, "TMPDIR=" + t.TempDir()}
	var out lockedBuffer
	command.Stdout = &out
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the handshake", func() bool { return strings.Contains(out.String(), "\n") })
	for _, child := range children(t, command.Process.Pid) {
		kill(t, child, syscall.SIGKILL)
	}
	time.Sleep(300 * time.Millisecond)
	_ = command.Process.Kill()
	_ = command.Wait()
	fields := strings.Split(strings.TrimSpace(out.String()), "|")
	if len(fields) != 6 || fields[0] != "1" || fields[1] != "1" || fields[2] != "unix" || fields[4] != "grpc" {
		t.Errorf("got %q", out.String())
	}
}
