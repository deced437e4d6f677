package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
)

const trustDomain = "e2e.example"

// tenants of every server: a test takes one of its own, so that what one test enrols is not known to
// another.
const tenants = 32

// server is `attestd serve`, asked over its unix socket.
type server struct{ client *http.Client }

// serverConfig says what a server is told beside what all of them are told.
type serverConfig struct {
	policy     string   // empty for production
	insecure   bool     // load the software TPMs' root with verify.insecure_roots
	references [][]byte // documents
}

// serve starts a server and stops it when the test ends.
func serve(t *testing.T, config serverConfig) server {
	t.Helper()
	state, err := os.MkdirTemp(made.folder, "s")
	if err != nil {
		t.Fatal(err)
	}
	verify := []string{"workers: 1"}
	if config.policy != "" {
		verify = append(verify, "policy: "+config.policy)
	}
	if config.insecure {
		verify = append(verify, "insecure_roots: ["+made.ca.RootFile()+"]")
	}
	var references []string
	for number, document := range config.references {
		path := filepath.Join(state, fmt.Sprintf("reference-%d.yaml", number))
		write(t, path, document)
		references = append(references, path)
	}
	if len(references) > 0 {
		verify = append(verify, "references: ["+strings.Join(references, ", ")+"]")
	}
	var names []string
	for number := range tenants {
		names = append(names, tenant(number))
	}
	settings := filepath.Join(state, "config.yaml")
	write(t, settings, fmt.Appendf(nil, "schema: attestd.config.v1\nstate_dir: %s\ntrust_domain: %s\n"+
		"tenants: [%s]\nlisten: {http: off, unix: s}\nchallenges: {ephemeral_key: true}\nverify: {%s}\n",
		state, trustDomain, strings.Join(names, ", "), strings.Join(verify, ", ")))
	var said bytes.Buffer
	command := exec.Command(made.binary, "serve", "--config", settings) //nolint:gosec // built above
	command.Stdout, command.Stderr = &said, &said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = command.Process.Kill()
			t.Error("the server did not stop when it was interrupted")
		}
		if t.Failed() {
			t.Logf("the server said:\n%s", said.Bytes())
		}
	})
	socket := filepath.Join(state, "s")
	running := server{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
	running.awaitReady(t, ended)
	return running
}

func (s server) awaitReady(t *testing.T, ended chan error) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		response, err := s.client.Get("http://attestd/readyz")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the server ended: %v", err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready in time: %v", err)
		}
	}
}

func tenant(number int) string { return fmt.Sprintf("tenant-%d", number) }

// post sends JSON and returns status and body.
func (s server) post(t *testing.T, path string, body any) (int, []byte) {
	t.Helper()
	document, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.client.Post("http://attestd"+path, "application/json", bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, answer
}

// verdict sends a body to /v1/verify and wants a verdict, which an undecided one is inside a problem.
func (s server) verdict(t *testing.T, body map[string]any) attestd.Appraisal {
	t.Helper()
	status, answer := s.post(t, "/v1/verify", body)
	var verdict attestd.Appraisal
	var into any = &verdict
	if status == http.StatusServiceUnavailable {
		into = &struct {
			Appraisal *attestd.Appraisal `json:"appraisal"`
		}{&verdict}
	}
	if err := json.Unmarshal(answer, into); err != nil || verdict.Schema == "" {
		t.Fatalf("status %d: %v in %s", status, err, answer)
	}
	return verdict
}

// keySet is what GET /v1/keys answers, fetched before any challenge.
func (s server) keySet(t *testing.T) []byte {
	t.Helper()
	response, err := s.client.Get("http://attestd/v1/keys")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	document, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return document
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
