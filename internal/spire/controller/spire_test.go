package controller_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

const domain = "attestd.test"

// spireFolder is where the real binaries lie; the suite sets it, after .ci/spire has built them.
func spireFolder(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("ATTESTD_SPIRE")
	if folder == "" {
		t.Skip(`ATTESTD_SPIRE is not set: run with ATTESTD_SPIRE="$(.ci/spire)", as .ci/test does`)
	}
	return folder
}

// realSPIRE is a SPIRE server of its own, on loopback and in a folder of the test.
type realSPIRE struct {
	folder, socket, address, log string
	dir                          string // its working folder
	roots                        *x509.CertPool
}

// config of a server: policy is the path of a Rego file, or empty for SPIRE's own.
type serverConfig struct {
	policy string
	data   map[string]any
	extra  string // in the block "plugins"
	// experimental is in the block of that name.
	experimental string
}

func startSPIRE(t *testing.T, config serverConfig) *realSPIRE {
	t.Helper()
	s := &realSPIRE{folder: spireFolder(t)}
	// The paths of unix sockets have at most 107 bytes.
	dir, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s.dir, s.socket, s.log = dir, filepath.Join(dir, "s.sock"), filepath.Join(dir, "log")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	_, port, _ := net.SplitHostPort(s.address)
	_ = listener.Close()
	engine := ""
	if config.policy != "" {
		text, err := json.Marshal(config.data)
		if err != nil {
			t.Fatal(err)
		}
		config.policy, err = filepath.Abs(config.policy)
		if err != nil {
			t.Fatal(err)
		}
		data := filepath.Join(dir, "data.json")
		writeFile(t, data, string(text))
		engine = fmt.Sprintf("auth_opa_policy_engine {\n local {\n rego_path = %q\n policy_data_path = %q\n }\n }",
			config.policy, data)
	}
	conf := filepath.Join(dir, "server.conf")
	writeFile(t, conf, fmt.Sprintf(`server {
  bind_address = "127.0.0.1"
  bind_port = %q
  socket_path = %q
  trust_domain = %q
  data_dir = %q
  log_level = "WARN"
  audit_log_enabled = true
  ratelimit {
    attestation = false
  }
  experimental {
    cache_reload_interval = "1s"
    %s
    %s
  }
}
plugins {
  DataStore "sql" {
    plugin_data {
      database_type = "sqlite3"
      connection_string = %q
    }
  }
  KeyManager "memory" {
    plugin_data {}
  }
  NodeAttestor "join_token" {
    plugin_data {}
  }
%s
}
`, port, s.socket, domain, dir, engine, config.experimental, filepath.Join(dir, "ds.sqlite3"), config.extra))
	out, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(s.folder, "spire-server"), "run", "-config", conf)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for range ended { // until it has
		}
		_ = out.Close()
		if t.Failed() {
			text, _ := os.ReadFile(s.log)
			t.Logf("log of the SPIRE server:\n%s", text[max(0, len(text)-4000):])
		}
	})
	s.roots = x509.NewCertPool()
	deadline := time.Now().Add(30 * time.Second)
	for {
		text, err := s.try("bundle", "show")
		if err == nil && s.roots.AppendCertsFromPEM([]byte(text)) {
			return s
		}
		select {
		case why := <-ended:
			err, deadline = why, time.Time{}
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(s.log)
			t.Fatalf("the SPIRE server did not start: %v\n%s", err, log)
		}
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// try runs the command line of the server at its socket.
func (s *realSPIRE) try(args ...string) (string, error) {
	words := 1
	for words < len(args) && !strings.HasPrefix(args[words], "-") {
		words++
	}
	args = append(append(append([]string{}, args[:words]...), "-socketPath", s.socket), args[words:]...)
	var out, problems bytes.Buffer
	cmd := exec.Command(filepath.Join(s.folder, "spire-server"), args...)
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("spire-server %s: %w: %s%s", strings.Join(args, " "), err, &out, &problems)
	}
	return out.String(), nil
}

func (s *realSPIRE) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// local connects to the unix socket as the test's own process.
func (s *realSPIRE) local(t *testing.T) *grpc.ClientConn {
	t.Helper()
	return connect(t, "unix:"+s.socket, insecure.NewCredentials())
}

// remote connects by TLS, with or without a certificate.
func (s *realSPIRE) remote(t *testing.T, certificate ...tls.Certificate) *grpc.ClientConn {
	t.Helper()
	return connect(t, "passthrough:///"+s.address, credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: certificate,
		// Certificates of SPIRE name no host: the chain is verified below.
		InsecureSkipVerify: true, //nolint:gosec // see VerifyConnection
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: s.roots})
			return err
		},
	}))
}

func connect(t *testing.T, target string, secure credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(secure))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// mint returns an SVID that the command line minted.
func (s *realSPIRE) mint(t *testing.T, id string) tls.Certificate {
	t.Helper()
	dir := t.TempDir()
	s.run(t, "x509", "mint", "-spiffeID", id, "-write", dir)
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "svid.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// attest makes an agent with a join token, as an agent does it: its id and its SVID.
func (s *realSPIRE) attest(t *testing.T) (string, tls.Certificate) {
	t.Helper()
	var token struct{ Value string }
	if err := json.Unmarshal([]byte(s.run(t, "token", "generate", "-output", "json")), &token); err != nil {
		t.Fatal(err)
	}
	id, svid, err := s.attestAs(t, "join_token", token.Value)
	if err != nil {
		t.Fatal(err)
	}
	return id, svid
}

// attestAs attests with a payload that asks for no challenge.
func (s *realSPIRE) attestAs(t *testing.T, attestor, payload string) (string, tls.Certificate, error) {
	t.Helper()
	key := newKey(t)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stream, err := agentv1.NewAgentClient(s.remote(t)).AttestAgent(ctx)
	if err != nil {
		return "", tls.Certificate{}, err
	}
	err = stream.Send(&agentv1.AttestAgentRequest{Step: &agentv1.AttestAgentRequest_Params_{
		Params: &agentv1.AttestAgentRequest_Params{
			Data:   &types.AttestationData{Type: attestor, Payload: []byte(payload)},
			Params: &agentv1.AgentX509SVIDParams{Csr: csr},
		},
	}})
	if err != nil {
		return "", tls.Certificate{}, err
	}
	reply, err := stream.Recv()
	if err != nil {
		return "", tls.Certificate{}, err
	}
	svid := reply.GetResult().GetSvid()
	return "spiffe://" + domain + svid.GetId().GetPath(),
		tls.Certificate{Certificate: svid.GetCertChain(), PrivateKey: key}, nil
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
