package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/svidext"
)

// fakeAttestd answers the composer over a real link, in attestd's place.
type fakeAttestd struct {
	socket string
	stop   func()

	mu      sync.Mutex
	grant   func(wire.GrantRequest) (any, error)
	asked   []wire.GrantRequest
	reports []wire.PluginReport
}

func (f *fakeAttestd) answer(_ context.Context, _ link.Peer, method string, body json.RawMessage) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch method {
	case wire.MethodReport:
		var report wire.PluginReport
		if err := link.Decode(body, &report); err != nil {
			return nil, err
		}
		f.reports = append(f.reports, report)
		return wire.Empty{}, nil
	case wire.MethodGrant:
		var request wire.GrantRequest
		if err := link.Decode(body, &request); err != nil {
			return nil, err
		}
		f.asked = append(f.asked, request)
		return f.grant(request)
	}
	return nil, errors.New("no such method")
}

func (f *fakeAttestd) listen(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = link.Serve(ctx, listener, func(net.Conn) (link.Peer, link.Handler, error) {
			return link.Peer{UID: os.Getuid(), HasUID: true}, f.answer, nil
		}, link.Limits{})
	}()
	var once sync.Once
	f.stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(f.stop)
}

func (f *fakeAttestd) set(grant func(wire.GrantRequest) (any, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.grant = grant
}

func (f *fakeAttestd) lastReport() wire.PluginReport {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.reports) == 0 {
		return wire.PluginReport{}
	}
	return f.reports[len(f.reports)-1]
}

const extensionOID = "1.3.6.1.4.1.55555.1.1"

// yes grants everything, JWT-SVIDs for at most 20 s.
func yes(t *testing.T) func(wire.GrantRequest) (any, error) {
	extension, err := svidext.Info{Attested: true, RiskShown: true, Risk: attestd.Risk(12), Tier: attestd.TierLow,
		Status: "affirming", AttestedAt: time.Now().Truncate(time.Second), TEE: "tpm"}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return func(request wire.GrantRequest) (any, error) {
		if request.Kind != wire.GrantWorkloadJWT {
			return wire.Granted{ExtensionOID: extensionOID, Extension: extension}, nil
		}
		return wire.Granted{
			ExpiresAt: min(request.ExpiresAt, time.Now().Add(20*time.Second).Unix()),
			Claims:    map[string]any{"attested": true, "risk_score": 12, "risk_tier": "low"},
		}, nil
	}
}

// spireServer is a real one.
type spireServer struct {
	t       *testing.T
	binary  string
	folder  string
	command *exec.Cmd
	exited  chan struct{}
}

// theBinaries are SPIRE's, as .ci/spire builds them, and the plugin's.
func theBinaries(t *testing.T) (server, plugin string) {
	t.Helper()
	folder := os.Getenv("ATTESTD_SPIRE")
	if folder == "" {
		t.Skip("no SPIRE: set ATTESTD_SPIRE to the folder that .ci/spire prints; CI does, and runs this test")
	}
	plugin = filepath.Join(t.TempDir(), "attestd-spire")
	build := exec.Command("go", "build", "-o", plugin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(folder, "spire-server"), plugin
}

func (s *spireServer) path(name string) string { return filepath.Join(s.folder, name) }

// configure writes the server's configuration, with the plugin's own in a file of its own, which SPIRE
// reads again at SIGUSR1.
func (s *spireServer) configure(plugin, data string) {
	s.t.Helper()
	config := fmt.Sprintf(`
server {
  bind_address = "127.0.0.1"
  bind_port = "%d"
  socket_path = %q
  trust_domain = "attestd.test"
  data_dir = %q
  log_level = "DEBUG"
  ca_ttl = "24h"
  default_jwt_svid_ttl = "1m"
}
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = %q } }
  KeyManager "memory" { plugin_data {} }
  NodeAttestor "join_token" { plugin_data {} }
  CredentialComposer "attestd" {
    plugin_cmd = %q
    plugin_args = ["composer"]
    plugin_data_file = %q
  }
}
`, freePort(s.t), s.path("api.sock"), s.path("data"), s.path("ds.sqlite3"), plugin, s.path("composer.hcl"))
	s.write("server.conf", config)
	s.write("composer.hcl", data)
}

func (s *spireServer) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}

// start runs the server until it is healthy.
func (s *spireServer) start() {
	s.t.Helper()
	log, err := os.Create(s.path("log"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.command = exec.Command(s.binary, "run", "-config", s.path("server.conf"))
	s.command.Stdout, s.command.Stderr = log, log
	s.command.Env = append(os.Environ(), "TMPDIR="+s.folder)
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.command.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.exited = make(chan struct{})
	go func() { _ = s.command.Wait(); close(s.exited) }()
	s.t.Cleanup(func() {
		_ = s.command.Process.Kill()
		<-s.exited
		if s.t.Failed() {
			text, _ := os.ReadFile(s.path("log"))
			s.t.Logf("SPIRE's log:\n%s", text)
		}
	})
	s.within(20*time.Second, "the server is healthy", func() bool {
		_, err := s.cli("healthcheck")
		return err == nil
	})
}

func (s *spireServer) cli(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, s.binary, append(args, "-socketPath", s.path("api.sock"))...)
	var out, problem bytes.Buffer
	command.Stdout, command.Stderr = &out, &problem
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%w: %s%s", err, &out, &problem)
	}
	return out.String(), nil
}

func (s *spireServer) within(limit time.Duration, what string, holds func() bool) {
	s.t.Helper()
	for end := time.Now().Add(limit); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

func (s *spireServer) logHas(text string) bool {
	log, err := os.ReadFile(s.path("log"))
	return err == nil && strings.Contains(string(log), text)
}

const workload = "spiffe://attestd.test/wl/a"

func (s *spireServer) mintJWT() (map[string]any, error) {
	out, err := s.cli("jwt", "mint", "-spiffeID", workload, "-audience", "peer", "-ttl", "5m")
	if err != nil {
		return nil, err
	}
	return claimsOf(strings.TrimSpace(out))
}

// running are the processes of the plugin's program.
func running(t *testing.T, plugin string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, name := range links {
		if target, err := os.Readlink(name); err == nil && target == plugin {
			out = append(out, filepath.Base(filepath.Dir(name)))
		}
	}
	return out
}

// validate runs SPIRE's own check of the configuration, which loads the plugins.
func (s *spireServer) validate() (string, error) {
	command := exec.CommandContext(s.t.Context(), s.binary, "validate", "-config", s.path("server.conf"))
	command.Env = append(os.Environ(), "TMPDIR="+s.folder)
	out, err := command.CombinedOutput()
	return string(out), err
}

func claimsOf(token string) (map[string]any, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("not a token: %q", token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, err
	}
	var claims map[string]any
	return claims, json.Unmarshal(payload, &claims)
}
