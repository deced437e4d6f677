package workloadattestor_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spiffe/spire-plugin-sdk/pluginsdk"
	"github.com/spiffe/spire-plugin-sdk/plugintest"
	keymanagerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/keymanager/v1"
	workloadattestorv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/workloadattestor/v1"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/nodeca"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/host"
	"github.com/attestd/attestd/plugins/spire/keymanager"
	"github.com/attestd/attestd/plugins/spire/keysocket"
	"github.com/attestd/attestd/plugins/spire/workloadattestor"
)

const (
	trustDomain = "example.org"
	agentID     = "spiffe://example.org/spire/agent/attestd/tpm/m1"
	otherID     = "spiffe://example.org/spire/agent/attestd/tpm/m2"
)

// TestMain is also the process that stands in for attestd where a test stops it.
func TestMain(m *testing.M) {
	if folder := os.Getenv("ATTESTD_TEST_AUTHORITY"); folder != "" {
		if err := beAttestd(folder); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// authority is what attestd has on disk: its own certificate, the CA of nodes, and the key of snapshots.
type authority struct {
	folder   string
	nodes    *nodeca.CA
	ca       []byte
	server   tls.Certificate
	snapshot ed25519.PrivateKey
}

func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "wa")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func newAuthority(folder string) (*authority, error) {
	a := &authority{folder: folder}
	var err error
	if a.nodes, err = nodeca.Open(filepath.Join(folder, "pki"), time.Now); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "attestd"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if a.ca, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key); err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{link.ServerName}, NotBefore: template.NotBefore,
		NotAfter: template.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, template, own.Public(), key)
	if err != nil {
		return nil, err
	}
	a.server = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own}
	_, a.snapshot, err = ed25519.GenerateKey(rand.Reader)
	return a, err
}

func (a *authority) sign(snapshot wire.Snapshot) wire.Signed {
	payload, err := json.Marshal(snapshot)
	if err != nil {
		panic(err)
	}
	message := append([]byte("attestd snapshot v1\n"), payload...)
	return wire.Signed{Payload: payload, Signature: ed25519.Sign(a.snapshot, message)}
}

// good is a snapshot of a node that is admitted.
func good(at time.Time) wire.Snapshot {
	return wire.Snapshot{
		AgentID: agentID, State: attestd.StateTrusted, Tier: attestd.TierLow, Risk: attestd.Risk(10), Epoch: 1,
		Tenant: "acme", Admitted: true, WorkloadsRevision: "r1", IssuedAt: at, ExpiresAt: at.Add(10 * time.Second),
	}
}

// front answers nodes, by real TLS and real links.
type front struct {
	*authority
	address string
	// watched is called for each question of a node, and may change the answer.
	watched func(*wire.Watching)

	mu      sync.Mutex
	now     func() time.Time
	state   func(time.Time) (wire.Signed, bool) // false: nothing is said
	conns   map[*link.Conn]chan struct{}
	watches int
}

func (a *authority) serve(ctx context.Context) (*front, <-chan error, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	f := &front{
		authority: a, address: "tcp:" + listener.Addr().String(), now: time.Now,
		conns: make(map[*link.Conn]chan struct{}),
	}
	f.state = func(at time.Time) (wire.Signed, bool) { return a.sign(good(at)), true }
	done := make(chan error, 1)
	secure := tls.NewListener(listener, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{a.server},
		ClientAuth: tls.RequireAnyClientCert,
	})
	go func() { done <- link.Serve(ctx, secure, f.accept, link.Limits{}) }()
	return f, done, nil
}

// accept lets nodes in, by the CA of nodes alone.
func (f *front) accept(conn net.Conn) (link.Peer, link.Handler, error) {
	peer := link.PeerOf(conn)
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return peer, nil, fmt.Errorf("got a %T", conn)
	}
	if err := secured.Handshake(); err != nil {
		return peer, nil, err
	}
	state := secured.ConnectionState()
	id, _, err := f.nodes.Identify(&state)
	if err != nil {
		return peer, nil, err
	}
	peer.Certificates = state.PeerCertificates
	return peer, f.handler(id), nil
}

func (f *front) handler(id string) link.Handler {
	return func(ctx context.Context, _ link.Peer, method string, _ json.RawMessage) (any, error) {
		conn, ok := link.From(ctx)
		if method != wire.MethodWatch || !ok {
			return nil, &attestd.CallerError{Class: attestd.ClassForbidden, Hint: "watch"}
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.watches++
		if f.conns[conn] == nil {
			f.conns[conn] = make(chan struct{}, 1)
			go f.push(conn, f.conns[conn])
		}
		watching := wire.Watching{AgentID: id, EverySeconds: 1, Now: f.now()}
		if f.watched != nil {
			f.watched(&watching)
		}
		return watching, nil
	}
}

// push sends what holds now, every 200 ms and at once when told.
func (f *front) push(conn *link.Conn, told <-chan struct{}) {
	for {
		f.mu.Lock()
		signed, say := f.state(f.now())
		f.mu.Unlock()
		if say {
			_ = conn.Notify(wire.MethodSnapshot, signed)
		}
		select {
		case <-conn.Done():
			return
		case <-told:
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// change makes attestd say something else, at once.
func (f *front) change(state func(time.Time) (wire.Signed, bool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = state
	for _, told := range f.conns {
		select {
		case told <- struct{}{}:
		default:
		}
	}
}

// says returns a state by how it differs from a good one.
func (f *front) says(differs func(*wire.Snapshot)) func(time.Time) (wire.Signed, bool) {
	return func(at time.Time) (wire.Signed, bool) {
		snapshot := good(at)
		differs(&snapshot)
		return f.sign(snapshot), true
	}
}

// enlist is what attestd hands to a node whose key is this one.
func (a *authority) enlist(t testing.TB, spki []byte, id string, addresses ...string) wire.Enlist {
	t.Helper()
	ends := time.Now().Add(time.Hour)
	chain, err := a.nodes.Issue(spki, id, ends)
	must(t, err)
	return wire.Enlist{
		Certificates: chain, NotAfter: ends, CA: a.ca, Addresses: addresses,
		SnapshotKey: a.snapshot.Public().(ed25519.PublicKey), AgentID: id,
	}
}

// serveHere serves an authority in this process until the test ends.
func serveHere(t testing.TB, a *authority) *front {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f, done, err := a.serve(ctx)
	must(t, err)
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("link: %v", err)
		}
	})
	return f
}

func makeAuthority(t testing.TB) *authority {
	t.Helper()
	a, err := newAuthority(shortDir(t))
	must(t, err)
	return a
}

// node is an agent's side: the real key manager and the workload attestor, served as SPIRE's library
// serves them.
type node struct {
	dir    string
	keys   keymanagerv1.KeyManagerPluginClient
	client *keysocket.Client

	attestor workloadattestorv1.WorkloadAttestorPluginClient
	config   configv1.ConfigServiceClient
	counts   *host.Counts
}

func environment(name string) host.Env {
	return host.Env{
		Name: name, Logger: hclog.NewNullLogger(), Starts: 1, Started: time.Now(), Version: "test",
		Counts: &host.Counts{},
	}
}

func newNode(t *testing.T, make func(host.Env) (host.Plugin, error)) *node {
	t.Helper()
	n := &node{dir: filepath.Join(shortDir(t), "run")}
	// The one that is served first is closed last.
	keys, err := keymanager.New(environment("keymanager"))
	must(t, err)
	var keyConfig configv1.ConfigServiceClient
	plugintest.ServeInBackground(t, plugintest.Config{
		PluginServer: keys.Server, PluginClient: &n.keys,
		ServiceServers: keys.Services, ServiceClients: []pluginsdk.ServiceClient{&keyConfig},
	})
	configure(t, &keyConfig, `keys = "memory"`+"\n"+`runtime_dir = "`+n.dir+`"`)
	env := environment(workloadattestor.Name)
	n.counts = env.Counts
	attestor, err := make(env)
	must(t, err)
	plugintest.ServeInBackground(t, plugintest.Config{
		PluginServer: attestor.Server, PluginClient: &n.attestor,
		ServiceServers: attestor.Services, ServiceClients: []pluginsdk.ServiceClient{&n.config},
	})
	n.client, err = keysocket.Dial(n.dir)
	must(t, err)
	t.Cleanup(func() { _ = n.client.Close() })
	return n
}

func configure(t testing.TB, client *configv1.ConfigServiceClient, hcl string) {
	t.Helper()
	_, err := client.Configure(context.Background(), request(hcl))
	must(t, err)
}

func request(hcl string) *configv1.ConfigureRequest {
	return &configv1.ConfigureRequest{
		CoreConfiguration: &configv1.CoreConfiguration{TrustDomain: trustDomain}, HclConfiguration: hcl,
	}
}

// configure configures the workload attestor, with more lines.
func (n *node) configure(t testing.TB, more ...string) {
	t.Helper()
	configure(t, &n.config, strings.Join(append(more, `runtime_dir = "`+n.dir+`"`), "\n"))
}

// generate makes a new key, as SPIRE's agent does before it attests.
func (n *node) generate(t testing.TB) {
	t.Helper()
	_, err := n.keys.GenerateKey(context.Background(), &keymanagerv1.GenerateKeyRequest{
		KeyId: "agent-svid-A", KeyType: keymanagerv1.KeyType_EC_P256,
	})
	must(t, err)
}

// enlist makes a new key and has attestd enlist it, as a node attestation does.
func (n *node) enlist(t testing.TB, a *authority, id string, addresses ...string) {
	t.Helper()
	n.generate(t)
	key, err := n.client.Newest(context.Background())
	must(t, err)
	must(t, n.client.PutEnlist(context.Background(), a.enlist(t, key.SPKI, id, addresses...)))
}

// attest returns what SPIRE's agent is told about a process.
func (n *node) attest(t testing.TB, pid int) []string {
	t.Helper()
	answer, err := n.attestor.Attest(context.Background(), &workloadattestorv1.AttestRequest{Pid: int32(pid)})
	must(t, err)
	return answer.GetSelectorValues()
}

// await waits until a process is given selectors, or none, and returns them and how long it took.
func (n *node) await(t testing.TB, pid int, want bool, limit time.Duration) ([]string, time.Duration) {
	t.Helper()
	began := time.Now()
	for {
		got := n.attest(t, pid)
		took := time.Since(began)
		if (len(got) > 0) == want {
			return got, took
		}
		if took > limit {
			t.Fatalf("after %s: got %q, want selectors: %t", took, got, want)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// beAttestd is the process that a test stops: it serves what the parent put into the folder.
func beAttestd(folder string) error {
	a, err := newAuthority(folder)
	if err != nil {
		return err
	}
	f, done, err := a.serve(context.Background())
	if err != nil {
		return err
	}
	var spki []byte
	if err := json.NewDecoder(bufio.NewReader(os.Stdin)).Decode(&spki); err != nil {
		return err
	}
	ends := time.Now().Add(time.Hour)
	chain, err := a.nodes.Issue(spki, agentID, ends)
	if err != nil {
		return err
	}
	err = json.NewEncoder(os.Stdout).Encode(wire.Enlist{
		Certificates: chain, NotAfter: ends, CA: a.ca, Addresses: []string{f.address},
		SnapshotKey: a.snapshot.Public().(ed25519.PublicKey), AgentID: agentID,
	})
	if err != nil {
		return err
	}
	return <-done
}

// other starts a process that stands in for attestd, enlists the node with it and returns it.
func (n *node) other(t testing.TB) *exec.Cmd {
	t.Helper()
	n.generate(t)
	key, err := n.client.Newest(context.Background())
	must(t, err)
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), "ATTESTD_TEST_AUTHORITY="+shortDir(t))
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	must(t, err)
	out, err := command.StdoutPipe()
	must(t, err)
	must(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	must(t, json.NewEncoder(in).Encode(key.SPKI))
	var enlisted wire.Enlist
	must(t, json.NewDecoder(out).Decode(&enlisted))
	must(t, n.client.PutEnlist(context.Background(), enlisted))
	return command
}
