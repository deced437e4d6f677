package spiretest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/attestd/attestd/internal/spiretest/asked"
)

// quickly has connections to a server that starts made again without the usual second in between.
var quickly = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 2 * time.Millisecond, Multiplier: 1, MaxDelay: 5 * time.Millisecond},
	MinConnectTimeout: time.Second,
}

// plainWorkloads is SPIRE's own attestor of workloads as the comparisons use it: it looks for the
// path and the digest of the program, which attestd's attestor does too.
const plainWorkloads = `
	WorkloadAttestor "unix" {
		plugin_data {
			discover_workload_path = true
		}
	}`

// memoryKeys is SPIRE's own key manager.
const memoryKeys = `
	KeyManager "memory" {
		plugin_data {
		}
	}`

// agentConfig says what a SPIRE agent is told beside what all of them are told.
type agentConfig struct {
	plugins string // HCL: one key manager, one node attestor, workload attestors
	token   string // for join_token
}

// spireAgent is a SPIRE agent: once, or one after the other.
type spireAgent struct {
	folder string
	config agentConfig
	*process
}

func (a *spireAgent) socket() string { return filepath.Join(a.folder, "a") }

// prepare makes the folder of an agent of the server.
func (s *spireServer) prepare(t *testing.T, config agentConfig) *spireAgent {
	t.Helper()
	folder, err := os.MkdirTemp(made.folder, "a")
	if err != nil {
		t.Fatal(err)
	}
	a := &spireAgent{folder: folder, config: config}
	write(t, filepath.Join(folder, "agent.conf"), fmt.Appendf(nil, `
agent {
	data_dir = %q
	log_level = "DEBUG"
	server_address = "127.0.0.1"
	server_port = "%d"
	socket_path = %q
	trust_domain = %q
	trust_bundle_path = %q
	experimental {
		%s
	}
}
plugins {
	%s
}
`, folder, s.port, a.socket(), trustDomain, s.bundleFile(), s.profile.agent, config.plugins))
	return a
}

// run starts the agent and waits for nothing.
func (a *spireAgent) run(t *testing.T) {
	t.Helper()
	words := []string{"run", "-config", filepath.Join(a.folder, "agent.conf")}
	if a.config.token != "" {
		words = append(words, "-joinToken", a.config.token)
	}
	a.process = launch(t, "spire-agent "+filepath.Base(a.folder), made.spireAgent, words...)
}

// command runs a command of spire-agent that asks the Workload API, and returns what it said.
func (a *spireAgent) command(t *testing.T, words ...string) (string, error) {
	t.Helper()
	words = append(words, "-socketPath", a.socket())
	out, err := exec.CommandContext(t.Context(), made.spireAgent, words...).CombinedOutput() //nolint:gosec // SPIRE
	if err != nil {
		return "", fmt.Errorf("spire-agent %s: %w: %s", strings.Join(words, " "), err, out)
	}
	return string(out), nil
}

// workload is a program on a node that knows nothing but the Workload API.
type workload struct {
	*process
	input io.Writer
	mu    sync.Mutex
	next  int
	waits map[int]chan asked.Answer
	// updates of X.509, after watch.
	updates chan asked.Answer
}

// workload starts the program on the agent's node; program is its file.
func (a *spireAgent) workload(t *testing.T, program string) *workload {
	t.Helper()
	w := &workload{waits: map[int]chan asked.Answer{}, updates: make(chan asked.Answer, 1024)}
	var output io.Reader
	w.process, w.input, output = piped(t, "workload", program, "-socket", a.socket())
	go w.listen(output)
	return w
}

func (w *workload) listen(output io.Reader) {
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var answer asked.Answer
		if err := json.Unmarshal(lines.Bytes(), &answer); err != nil {
			continue // the question is answered by nothing, which its test sees
		}
		w.mu.Lock()
		waits := w.waits[answer.Number]
		delete(w.waits, answer.Number)
		w.mu.Unlock()
		if waits == nil {
			waits = w.updates
		}
		waits <- answer
	}
}

// send asks one question; its answer comes by the channel.
func (w *workload) send(question asked.Question) (<-chan asked.Answer, error) {
	answered := make(chan asked.Answer, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	question.Number = w.next
	w.waits[question.Number] = answered
	line, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	_, err = w.input.Write(append(line, '\n'))
	return answered, err
}

// ask asks one question and waits for its answer.
func (w *workload) ask(t *testing.T, question asked.Question) asked.Answer {
	t.Helper()
	if question.Within == 0 {
		question.Within = 10 * time.Second
	}
	answered, err := w.send(question)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case answer := <-answered:
		return answer
	case <-w.ended:
		t.Fatalf("the workload ended: %v", w.err)
	case <-time.After(question.Within + 10*time.Second):
		t.Fatalf("the workload does not answer %+v", question)
	}
	return asked.Answer{}
}

// jwt fetches a JWT-SVID for an audience, once.
func (w *workload) jwt(t *testing.T, audience string) asked.Answer {
	t.Helper()
	return w.ask(t, asked.Question{Do: asked.JWT, Audience: audience})
}

// awaitJWT asks until there is a JWT-SVID that go-spiffe accepts.
func (w *workload) awaitJWT(t *testing.T, audience string) asked.Answer {
	t.Helper()
	answer := w.ask(t, asked.Question{
		Do: asked.JWT, Audience: audience, Persist: true, Judge: true, Within: startLimit,
	})
	if !answer.OK {
		t.Fatalf("no JWT-SVID in %s: %s", startLimit, answer.Error)
	}
	return answer
}

// awaitX509 asks until there are X509-SVIDs that go-spiffe accepts.
func (w *workload) awaitX509(t *testing.T) asked.Answer {
	t.Helper()
	answer := w.ask(t, asked.Question{Do: asked.X509, Persist: true, Within: startLimit})
	if !answer.OK {
		t.Fatalf("no X509-SVID in %s: %s", startLimit, answer.Error)
	}
	return answer
}

// attested reports whether SPIRE has certified the agent since it was started.
func (a *spireAgent) attested() bool {
	return strings.Contains(a.said.String(), "Node attestation was successful")
}
