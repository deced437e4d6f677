package spiretest_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"
	bundlev1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/bundle/v1"
	entryv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	svidv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/svid/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// profile is how often the parts of SPIRE look at each other.
type profile struct {
	name   string
	server string // what the server's experimental block says
	agent  string
	// bound is SPIRE's on the time from a change of an entry to the workload: both intervals.
	bound time.Duration
}

var (
	// defaults are SPIRE's own: 5 s for the server's cache, 5 s between two syncs of an agent.
	defaults = profile{name: "default", bound: 10 * time.Second}
	// fast is for laboratories and small fleets.
	fast = profile{
		name: "fast", bound: 2 * time.Second, agent: `sync_interval = "1s"`,
		server: "cache_reload_interval = \"1s\"\nevents_based_cache = true",
	}
)

// serverConfig says what a SPIRE server is told beside what all of them are told.
type serverConfig struct {
	profile      profile
	folder       string // made anew where it is empty
	plugins      string // HCL, beside the data store and the key manager
	experimental string // HCL, beside the profile's
	agentTTL     string // 1h where it is empty
	x509TTL      string // 10m
	jwtTTL       string // 1m
	unlimited    bool   // as many signatures a second as there are requests for
}

// spireServer is a SPIRE server: once, or one after the other.
type spireServer struct {
	folder  string
	port    int
	profile profile
	*process
	conn    *grpc.ClientConn
	entries entryv1.EntryClient
	agents  agentv1.AgentClient
	svids   svidv1.SVIDClient
	bundles bundlev1.BundleClient
}

func (s *spireServer) socket() string     { return filepath.Join(s.folder, "s") }
func (s *spireServer) configFile() string { return filepath.Join(s.folder, "server.conf") }

// serve starts a SPIRE server and waits until it is healthy.
func serve(t *testing.T, config serverConfig) *spireServer {
	t.Helper()
	s := configure(t, config)
	s.run(t)
	return s
}

// configure makes the folder of a SPIRE server.
func configure(t *testing.T, config serverConfig) *spireServer {
	t.Helper()
	folder := config.folder
	if folder == "" {
		var err error
		if folder, err = os.MkdirTemp(made.folder, "s"); err != nil {
			t.Fatal(err)
		}
	}
	s := &spireServer{folder: folder, port: freePort(t), profile: config.profile}
	or := func(given, otherwise string) string {
		if given != "" {
			return given
		}
		return otherwise
	}
	write(t, s.configFile(), fmt.Appendf(nil, `
server {
	bind_address = "127.0.0.1"
	bind_port = "%d"
	socket_path = %q
	trust_domain = %q
	data_dir = %q
	log_level = "DEBUG"
	ca_ttl = "24h"
	agent_ttl = %q
	default_x509_svid_ttl = %q
	default_jwt_svid_ttl = %q
	audit_log_enabled = true
	ratelimit {
		attestation = false
		signing = %t
	}
	experimental {
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
	KeyManager "disk" {
		plugin_data {
			keys_path = %q
		}
	}
	%s
}
`, s.port, s.socket(), trustDomain, folder, or(config.agentTTL, "1h"), or(config.x509TTL, "10m"),
		or(config.jwtTTL, "1m"), !config.unlimited, config.profile.server, config.experimental,
		filepath.Join(folder, "store.sqlite3"), filepath.Join(folder, "keys.json"), config.plugins))
	var err error
	s.conn, err = grpc.NewClient("unix:"+s.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(quickly))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.conn.Close() })
	s.entries, s.agents = entryv1.NewEntryClient(s.conn), agentv1.NewAgentClient(s.conn)
	s.svids, s.bundles = svidv1.NewSVIDClient(s.conn), bundlev1.NewBundleClient(s.conn)
	return s
}

// run starts the process; the folder may be one that a process worked on before.
func (s *spireServer) run(t *testing.T) {
	t.Helper()
	s.process = launch(t, "spire-server", made.spireServer, "run", "-config", s.configFile())
	health := grpc_health_v1.NewHealthClient(s.conn)
	s.ready(t, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		answer, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err == nil && answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			err = fmt.Errorf("the server says %v", answer.GetStatus())
		}
		return err
	})
	document, err := s.bundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.bundleFile(), document)
}

// bundleFile has the X.509 authorities of the trust domain in PEM.
func (s *spireServer) bundleFile() string { return filepath.Join(s.folder, "bundle.pem") }

func (s *spireServer) bundle(ctx context.Context) ([]byte, error) {
	bundle, err := s.bundles.GetBundle(ctx, &bundlev1.GetBundleRequest{})
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, authority := range bundle.GetX509Authorities() {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.GetAsn1()})...)
	}
	return out, nil
}

// command runs a command of spire-server that has an argument -socketPath, and returns what it said.
func (s *spireServer) command(t *testing.T, words ...string) (string, error) {
	t.Helper()
	words = append(words, "-socketPath", s.socket())
	out, err := exec.CommandContext(t.Context(), made.spireServer, words...).CombinedOutput() //nolint:gosec // SPIRE
	if err != nil {
		return "", fmt.Errorf("spire-server %s: %w: %s", strings.Join(words, " "), err, out)
	}
	return string(out), nil
}

// entry is a registration entry as tests write it.
type entry struct {
	id, spiffeID, parent string
	selectors            []string // as in "unix:uid:0"
	jwtTTL               int32
}

// register creates entries.
func (s *spireServer) register(t *testing.T, entries ...entry) {
	t.Helper()
	request := &entryv1.BatchCreateEntryRequest{}
	for _, one := range entries {
		request.Entries = append(request.Entries, &types.Entry{
			Id: one.id, SpiffeId: spiffeID(t, one.spiffeID), ParentId: spiffeID(t, one.parent),
			Selectors: selectors(t, one.selectors), JwtSvidTtl: one.jwtTTL,
		})
	}
	answer, err := s.entries.BatchCreateEntry(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	for number, result := range answer.GetResults() {
		if result.GetStatus().GetCode() != int32(codes.OK) {
			t.Fatalf("entry %s: %s", entries[number].id, result.GetStatus().GetMessage())
		}
	}
}

func spiffeID(t *testing.T, text string) *types.SPIFFEID {
	t.Helper()
	domain, path, _ := strings.Cut(strings.TrimPrefix(text, "spiffe://"), "/")
	if domain != trustDomain {
		t.Fatalf("%q is not a SPIFFE ID of this trust domain", text)
	}
	if path != "" {
		path = "/" + path
	}
	return &types.SPIFFEID{TrustDomain: domain, Path: path}
}

func selectors(t *testing.T, texts []string) []*types.Selector {
	t.Helper()
	var out []*types.Selector
	for _, text := range texts {
		kind, value, ok := strings.Cut(text, ":")
		if !ok {
			t.Fatalf("%q is not a selector", text)
		}
		out = append(out, &types.Selector{Type: kind, Value: value})
	}
	return out
}

// id is a SPIFFE ID of the trust domain.
func id(path string) string { return "spiffe://" + trustDomain + path }

// freePort is a port of loopback that nobody listens on. It lies below those that the kernel gives to
// connections (ip(7), ip_local_port_range begins at 32768), which would take it before it is used.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 12000 + rand.IntN(20000) //nolint:gosec // a port of a test is no secret
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = listener.Close()
			return port
		}
	}
	t.Fatal("no port of loopback is free")
	return 0
}
