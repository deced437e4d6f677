package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// serverConfig says what a server is told beside what all of them are told.
type serverConfig struct {
	policy     string   // empty for production
	insecure   bool     // load the software TPMs' root with verify.insecure_roots
	references [][]byte // documents
	more       []string // further lines of the configuration
}

// daemon is a state folder, and `attestd serve` on it: once, or one after the other.
type daemon struct {
	server
	state, settings string
	said            *said
	process         *exec.Cmd
	ended           chan struct{}
	err             error // of the process; to be read after ended
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

// configure makes a state folder with a configuration; what runs on it is stopped when the test ends.
func configure(t *testing.T, config serverConfig) *daemon {
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
		verify = append(verify, "local_references: ["+strings.Join(references, ", ")+"]")
	}
	var names []string
	for number := range tenants {
		names = append(names, tenant(number))
	}
	d := &daemon{state: state, settings: filepath.Join(state, "config.yaml"), said: &said{}}
	write(t, d.settings, fmt.Appendf(nil, "schema: attestd.config.v1\nstate_dir: %s\ntrust_domain: %s\n"+
		"tenants: [%s]\nlisten: {http: off, unix: s}\nchallenges: {ephemeral_key: true}\nverify: {%s}\n%s\n",
		state, trustDomain, strings.Join(names, ", "), strings.Join(verify, ", "),
		strings.Join(config.more, "\n")))
	d.server = server{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", d.socket())
		},
	}}}
	t.Cleanup(func() {
		d.stop(t)
		if t.Failed() {
			t.Logf("the server said:\n%s", d.said)
		}
	})
	return d
}

func (d *daemon) socket() string { return filepath.Join(d.state, "s") }

// set adds a line to the configuration.
func (d *daemon) set(t *testing.T, line string) {
	t.Helper()
	document, err := os.ReadFile(d.settings)
	if err != nil {
		t.Fatal(err)
	}
	write(t, d.settings, append(document, line+"\n"...))
}

// run starts the process and does not wait for anything.
func (d *daemon) run(t *testing.T) {
	t.Helper()
	d.process = exec.Command(made.binary, "serve", "--config", d.settings) //nolint:gosec // built above
	d.process.Stdout, d.process.Stderr = d.said, d.said
	if err := d.process.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	d.ended = ended
	process := d.process
	go func() {
		d.err = process.Wait()
		close(ended)
	}()
}

// start starts the process and returns how long it took to be ready.
func (d *daemon) start(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	d.run(t)
	for ; ; time.Sleep(5 * time.Millisecond) {
		response, err := d.client.Get("http://attestd/readyz")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return time.Since(began)
			}
		}
		select {
		case <-d.ended:
			t.Fatalf("the server ended: %v", d.err)
		default:
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("not ready in time: %v", err)
		}
	}
}

// stop interrupts the process, where one runs.
func (d *daemon) stop(t *testing.T) {
	t.Helper()
	if d.process == nil {
		return
	}
	_ = d.process.Process.Signal(os.Interrupt)
	select {
	case <-d.ended:
	case <-time.After(20 * time.Second):
		d.kill()
		t.Error("the server did not stop when it was interrupted")
	}
	d.process = nil
	d.client.CloseIdleConnections()
}

// kill ends the process as a loss of power does.
func (d *daemon) kill() {
	_ = d.process.Process.Kill()
	<-d.ended
	d.process = nil
	d.client.CloseIdleConnections()
}

// refused starts the process, wants it to end by itself, and returns what it said.
func (d *daemon) refused(t *testing.T) string {
	t.Helper()
	before := len(d.said.String())
	d.run(t)
	select {
	case <-d.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the server started")
	}
	d.process = nil
	if d.err == nil {
		t.Error("the server ended without an error")
	}
	return d.said.String()[before:]
}

// adminURL is where operators are answered, as the latest start said.
func (d *daemon) adminURL(t *testing.T) string {
	t.Helper()
	var found string
	for line := range strings.Lines(d.said.String()) {
		var entry struct {
			Message string `json:"msg"`
			Admin   string `json:"admin"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Message == "serving" {
			found = entry.Admin
		}
	}
	if found == "" {
		t.Fatal("the server did not say where it answers operators")
	}
	return found
}
