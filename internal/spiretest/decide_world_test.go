package spiretest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/attestd/attestd/client/decide"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/nhi"
)

const (
	// globex is the other tenant.
	globex = "globex"
	// decideAudience is that of SVIDs that are for attestd's decisions.
	decideAudience = "attestd://decide"
	// featureStore is what an evaluation agent must not write to.
	featureStore = "features/churn"
	// Tokens of enforcement points.
	guardrailToken = "guardrail-token-of-32-bytes-or-so"
	strangerToken  = "strangers-token-of-32-bytes-or-so"
)

// caller is a workload that asks for something, as its entry and its record say.
type caller struct {
	name   string // its SPIFFE ID is /NAME
	tenant string
	record nhi.Record // ID and tenant are filled in
	ttl    int32      // of its JWT-SVIDs in seconds; 0 is the server's
}

// worker is a caller with an ordinary record.
func worker(name, whose string, purpose nhi.Purpose) caller {
	return caller{name: name, tenant: whose, record: ordinary(purpose)}
}

func (c caller) id() string { return id("/" + c.name) }

// ordinary is a record of the lab that reaches the tool search and the feature store.
func ordinary(purpose nhi.Purpose) nhi.Record {
	return nhi.Record{
		Owner: "team@example.org", Purpose: purpose, Zone: nhi.ZoneTrusted, Policy: "standard",
		Tools: []string{"search"}, Datasets: []string{featureStore}, Credential: nhi.CredentialAttested,
		Lifecycle: nhi.LifecycleActive,
	}
}

// decideSite is a host of two tenants whose callers are decided about: two attested nodes, one for each
// tenant, and one that attestd never saw.
type decideSite struct {
	*house
	lab, globex *node
	// clients are of the Workload APIs, by tenant; "" is that of the node that attestd never saw.
	clients map[string]*workloadapi.Client
	asking  *decide.Client // as the user of this process
	envoy   authv3.AuthorizationClient
	server  serverKey
	https   int
	// bundlePort is where the SPIRE server shows its bundle.
	bundlePort int
	// held are tokens whose callers are quarantined.
	held  []string
	began time.Time
	// issued are all tokens that there were.
	issuing sync.Mutex
	issued  []string
}

func (s *decideSite) decisions() string { return filepath.Join(s.state, "q") }
func (s *decideSite) extAuthz() string  { return filepath.Join(s.state, "g") }

// serverKey is what a server of this host shows over TLS.
type serverKey struct {
	certificate, key string
	pool             *x509.CertPool
}

// newServerKey makes a certificate for loopback that signs itself.
func newServerKey(t *testing.T, folder string) serverKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	like := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "host"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, like, like, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	out := serverKey{filepath.Join(folder, "host.pem"), filepath.Join(folder, "host.key"), x509.NewCertPool()}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	out.pool.AppendCertsFromPEM(certificate)
	write(t, out.certificate, certificate)
	write(t, out.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	return out
}

// openDecisions starts everything, with the callers attested, identified and in the inventory.
func openDecisions(t *testing.T, callers []caller) *decideSite {
	t.Helper()
	s := &decideSite{
		house:   arrange(t, houseConfig{profile: fast, unattested: "observe"}),
		clients: map[string]*workloadapi.Client{}, https: freePort(t), bundlePort: freePort(t), began: time.Now(),
	}
	s.federate(t)
	s.lab = s.prepareNode(t, "first", tenant)
	s.globex = s.prepareNode(t, "second", globex)
	s.server = newServerKey(t, s.state)
	s.configureDecisions(t, "workload:unix:"+s.lab.agent.socket())
	s.house.start(t)
	s.own(t, tenant, s.lab.machine)
	s.own(t, globex, s.globex.machine)
	ourselves, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// attestd itself is a workload of the lab's node: it asks for bundles there.
	s.spire.register(t, entry{
		id: "attestd.itself", spiffeID: id("/attestd"), parent: s.lab.id,
		selectors: []string{"unix:uid:0", "unix:path:" + attestdProgram.file(t)},
	})
	for _, one := range callers {
		parent := map[string]string{tenant: s.lab.id, globex: s.globex.id}[one.tenant]
		s.spire.register(t, entry{
			id: "attestd." + one.name, spiffeID: one.id(), parent: parent,
			selectors: []string{"unix:uid:0", "attestd:admitted:yes", "unix:path:" + ourselves},
			jwtTTL:    one.ttl,
		})
	}
	s.record(t, callers)
	plain := plainNode(t, s.spire)
	for whose, agent := range map[string]*spireAgent{
		"": plain.agent, tenant: s.lab.agent, globex: s.globex.agent,
	} {
		if whose != "" {
			agent.run(t)
		}
		client, err := workloadapi.New(t.Context(), workloadapi.WithAddr("unix:"+agent.socket()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		s.clients[whose] = client
	}
	if s.asking, err = decide.New("unix:"+s.decisions(), decide.Options{Timeout: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.asking.Close)
	conn, err := grpc.NewClient("unix:"+s.extAuthz(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s.envoy = authv3.NewAuthorizationClient(conn)
	return s
}

// federate has the SPIRE server show its bundle, as it does to other trust domains.
func (s *decideSite) federate(t *testing.T) {
	t.Helper()
	document, err := os.ReadFile(s.spire.configFile())
	if err != nil {
		t.Fatal(err)
	}
	endpoint := fmt.Sprintf("server {\n\tfederation {\n\t\tbundle_endpoint {\n\t\t\taddress = \"127.0.0.1\"\n"+
		"\t\t\tport = %d\n\t\t\tprofile \"https_spiffe\" {}\n\t\t}\n\t}\n", s.bundlePort)
	write(t, s.spire.configFile(), []byte(strings.Replace(string(document), "server {\n", endpoint, 1)))
}

// prepareNode is a node of a tenant that was not started yet, and has no entry.
func (s *decideSite) prepareNode(t *testing.T, like, whose string) *node {
	t.Helper()
	m := newMachine(t, like, goldenBoot())
	n := &node{house: s.house, machine: m, keys: "tpm", runtime: filepath.Join(m.folder, "r")}
	ours := fmt.Sprintf("tenant = %q", tenant)
	n.agent = s.spire.prepare(t, agentConfig{
		plugins: strings.ReplaceAll(n.plugins(t), ours, fmt.Sprintf("tenant = %q", whose)),
	})
	return n
}

// own makes a machine a tenant's.
func (s *decideSite) own(t *testing.T, whose string, m *machine) {
	t.Helper()
	done, err := s.root.Import(t.Context(), wire.Import{
		Kind: "ek-certificates", Tenant: whose, Document: delivery(t, m), Source: "delivery.pem",
	})
	if err != nil || done.Added+done.Updated != 1 {
		t.Fatalf("imported %+v: %v", done, err)
	}
}

// record puts the callers into the inventory.
func (s *decideSite) record(t *testing.T, callers []caller) {
	t.Helper()
	ask := wire.RecordsImport{Source: "inventory.yaml"}
	for _, one := range callers {
		one.record.ID, one.record.Tenant = one.id(), one.tenant
		ask.Records = append(ask.Records, one.record)
	}
	done, err := s.root.ImportRecords(t.Context(), ask)
	if err != nil || done.Added != len(callers) {
		t.Fatalf("%d records of %d came into the inventory: %v, %v", done.Added, len(callers), done.Problems, err)
	}
}

// configureDecisions adds what decides to attestd's configuration. The machines' endorsement keys are
// named, so that their risk is that of hardware that is known, and low.
func (s *decideSite) configureDecisions(t *testing.T, bundles string, more ...string) {
	t.Helper()
	keys := filepath.Join(s.state, "keys.yaml")
	write(t, keys, fmt.Appendf(nil, "schema: attestd.reference-values.v1\nname: keys\nformat: tpm\n"+
		"endorsement-keys:\n  lab: \"%x\"\n  globex: \"%x\"\n", s.lab.identity(t).EKSHA256(),
		s.globex.identity(t).EKSHA256()))
	enforcers := filepath.Join(s.state, "enforcers.yaml")
	write(t, enforcers, fmt.Appendf(nil, `schema: attestd.enforcers.v1
enforcers:
  - user: root
    may: [authzen, forward-auth, ext_authz, introspect]
    tenants: ["*"]
    vouches: true
    rate: 1000000
  - spiffe: %s
    may: [authzen]
    tenants: [%s]
  - token: guardrail
    sha256: "%x"
    may: [signals]
    tenants: [%s]
  - token: stranger
    sha256: "%x"
    may: [signals]
    tenants: [%s]
`, id("/gateway"), tenant, sha256.Sum256([]byte(guardrailToken)), tenant,
		sha256.Sum256([]byte(strangerToken)), globex))
	document, err := os.ReadFile(s.configFile())
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(document), "\ndecisions:")
	text := regexp.MustCompile(`insecure_roots: \[.*?\], local_references: \[(?:`+regexp.QuoteMeta(keys)+`, )?`).
		ReplaceAllLiteralString(before, "local_references: ["+keys+", ")
	text = strings.Replace(text, "tenants: ["+tenant+"]", "tenants: ["+tenant+", "+globex+"]", 1)
	write(t, s.configFile(), fmt.Appendf(nil, `%s
decisions:
  http: '127.0.0.1:%d'
  certificate: %s
  key: %s
  unix: q
  grpc_unix: g
  enforcers: %s
  audiences: ["%s"]
  bundles: ["%s=%s"]
  quarantine: on
  deadline: 2s
  rate: 100000
  burst: 100000
  %s
`, strings.TrimRight(text, "\n"), s.https, s.server.certificate, s.server.key, enforcers, decideAudience,
		trustDomain, bundles, strings.Join(more, "\n  ")))
}

// client is the Workload API of the tenant's node.
func (s *decideSite) client(whose string) *workloadapi.Client { return s.clients[whose] }

// token waits for a JWT-SVID of the caller.
func (s *decideSite) token(t *testing.T, whose, subject string) string {
	t.Helper()
	params := jwtsvid.Params{Audience: decideAudience, Subject: spiffeid.RequireFromString(subject)}
	for deadline := time.Now().Add(startLimit); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		svid, err := s.client(whose).FetchJWTSVID(ctx, params)
		cancel()
		if err == nil {
			s.issuing.Lock()
			s.issued = append(s.issued, svid.Marshal())
			s.issuing.Unlock()
			return svid.Marshal()
		}
		if time.Now().After(deadline) {
			t.Fatalf("no JWT-SVID of %s: %v", subject, err)
		}
	}
}

// x509 waits for the X509-SVID of the caller, with its key.
func (s *decideSite) x509(t *testing.T, whose, subject string) *x509svid.SVID {
	t.Helper()
	for deadline := time.Now().Add(startLimit); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		svids, err := s.client(whose).FetchX509SVIDs(ctx)
		cancel()
		for _, one := range svids {
			if one.ID.String() == subject {
				return one
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no X509-SVID of %s: %v", subject, err)
		}
	}
}

// tlsOf is what a TLS client with an X509-SVID shows.
func tlsOf(svid *x509svid.SVID) tls.Certificate {
	out := tls.Certificate{PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}
	for _, one := range svid.Certificates {
		out.Certificate = append(out.Certificate, one.Raw)
	}
	return out
}
