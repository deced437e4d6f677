package api_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/api"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/internal/svid"
	"github.com/attestd/attestd/plugins/spire/svidext"
	"github.com/attestd/attestd/testvectors/forge"
)

const (
	signerID     = "spiffe://example.org/enclave/blue/signer"
	directParent = "spiffe://example.org/attestd/direct/blue"
)

// mint is attestd as world is, with a SPIRE beside it: one that asks attestd before it signs, as
// the composer does, and has entries.
type mint struct {
	*world
	index  *live.Index
	office *issuance.Office
	spire  *spire
	key    *ecdsa.PrivateKey // of the enclave
}

func newMint(t testing.TB) *mint { return newMintDue(t, time.Hour) }

// newMintDue is one where fresh evidence is due after that time.
func newMintDue(t testing.TB, due time.Duration) *mint {
	t.Helper()
	m := &mint{world: &world{TB: t, log: &lockedBuffer{}, path: filepath.Join(t.TempDir(), "attestd.db")}}
	var err error
	m.aws, err = forge.NewAWS(forge.AWSOptions{At: time.Now()})
	m.must(err)
	m.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	m.must(err)
	m.index = live.New()
	m.store, err = registry.Open(context.Background(), registry.Config{
		Path: m.path, Clock: registry.SystemClock(), Index: m.index, Limits: registry.Limits{
			Outstanding: 1 << 16, PerTenant: 1 << 16, PerSource: 1 << 16, Appraisals: 1 << 16,
			KeepAppraisals: time.Hour,
		},
	})
	m.must(err)
	t.Cleanup(func() { _ = m.store.Close() })
	m.own(forge.AWSModuleID, "blue")
	m.spire = newSPIRE(m)
	m.spire.entries = []wire.Entry{direct(signerID)}
	m.server = httptest.NewServer(m.handler(due))
	t.Cleanup(m.server.Close)
	m.mapped()
	return m
}

// own puts an instance into the inventory of a tenant.
func (m *mint) own(instance, tenant string) {
	m.Helper()
	key := subject.Key{Kind: string(subject.BarInstance), Value: instance}
	m.must(m.store.Write(context.Background(), subject.Write{
		Owners: []subject.OwnershipWrite{{Key: key, Next: &subject.Ownership{
			Key: key, Tenant: tenant, Method: subject.MethodInventory, Status: subject.StatusApproved,
			Source: "test", CreatedAt: m.store.Now(),
		}}},
		Audit: []audit.Record{{
			At: m.store.Now(), Actor: "ann", Tenant: tenant, Action: "enroll.approve", Outcome: "done",
		}},
	}))
}

func (m *mint) handler(due time.Duration) http.Handler {
	m.Helper()
	judging, err := judge.New(judge.Config{InsecureRoots: []*x509.Certificate{m.aws.Root()}})
	m.must(err)
	m.local = service.NewLocal(judging)
	m.signer, err = challenge.NewEphemeralSigner()
	m.must(err)
	issuer, err := challenge.NewIssuer(challenge.Config{
		Store: m.store, Signer: m.signer, TrustDomain: "example.org", Lifetime: time.Minute, NonceBytes: 32,
	})
	m.must(err)
	tenants := []string{"default", "blue"}
	desk, err := enrol.New(enrol.Config{
		Store: m.store, Now: m.store.Now, Tenants: tenants, Rand: rand.Reader,
		Limits: enrol.Limits{PendingPerTenant: 1000, PendingPerSource: 1000, PendingKeep: time.Hour},
	})
	m.must(err)
	recorded, err := appraisal.Builtin(appraisal.Recorded)
	m.must(err)
	policy := service.Document{Source: "recorded", Bytes: recorded.Document()}
	served, err := service.New(service.Config{
		Subjects: service.Subjects{
			Held: m.index.Held, TrustDomain: "example.org", Desk: desk, Specs: judging.Specs(),
			Notes: noNotes{}, Grounds: noGrounds,
			Rules: subject.Rules{Reattest: due, Grace: time.Minute, Bad: 2, Good: 1},
		},
		Store: m.store, Issuer: issuer, Judge: m.local, Refuse: m.local, Policy: policy,
		RecordedPolicy: policy, Formats: judging.Formats(), Tenants: tenants, Timeout: 10 * time.Second,
		Concurrency: 64, Waiting: 64,
	})
	m.must(err)
	keys, err := m.signer.KeySet()
	m.must(err)
	_, snapshots, err := ed25519.GenerateKey(nil)
	m.must(err)
	m.office, err = issuance.New(issuance.Config{
		TrustDomain: "example.org", Index: m.index, Verifier: served, Keys: keys, Now: m.store.Now,
		Unattested: issuance.Deny, Unbound: issuance.Refuse, AttestedOnly: []string{"/enclave/"},
		Audiences: []string{"*"}, ExtensionOID: svidext.DefaultOID, SnapshotKey: snapshots,
		Lifetimes: issuance.Lifetimes{
			Agent: time.Hour, X509: time.Hour, MaxX509: 2 * time.Hour, Grace: time.Minute,
			JWT: map[attestd.Tier]time.Duration{
				attestd.TierLow: 5 * time.Minute, attestd.TierMedium: time.Minute,
				attestd.TierUnknown: 30 * time.Second,
			},
			Snapshot: 10 * time.Second, Map: time.Minute,
		},
		Bound:     func(context.Context, subject.ID) (bool, error) { return false, nil },
		NodeCA:    noNodes{},
		Workloads: func(string) (map[string]string, string) { return nil, "" },
		Refresh:   m.spire.refresh, Notes: noNotes{}, Logger: slog.New(slog.DiscardHandler),
	})
	m.must(err)
	minting, err := svid.New(svid.Config{
		TrustDomain: "example.org", Verifier: served, Office: m.office, Controller: m.spire, Now: m.store.Now,
	})
	m.must(err)
	handler, err := api.New(api.Config{
		Service: served, SVIDs: minting, KeySet: keys, Limits: smallLimits, Specs: judging.Specs(),
		Metrics: prometheus.NewRegistry(),
		Logger:  slog.New(slog.NewJSONHandler(m.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	m.must(err)
	return handler
}

type noNodes struct{}

func (noNodes) Issue([]byte, string, time.Time) ([][]byte, error) {
	return nil, errors.New("nobody is a node here")
}

// mapped tells attestd what SPIRE has, as the controller does.
func (m *mint) mapped() {
	m.Helper()
	m.spire.mu.Lock()
	defer m.spire.mu.Unlock()
	m.must(m.office.SetMap(wire.Map{Entries: m.spire.entries, At: time.Now()}))
}

// direct is an entry for the enclave.
func direct(id string, more ...string) wire.Entry {
	entry := wire.Entry{ID: "e", SPIFFEID: id, ParentID: directParent, Selectors: []wire.Selector{
		{Type: "attestd", Value: "format:nitro"}, {Type: "attestd", Value: "tenant:blue"},
	}}
	for _, value := range more {
		entry.Selectors = append(entry.Selectors, wire.Selector{Type: "attestd", Value: value})
	}
	return entry
}

func spki(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// request is a certificate request of the enclave's key for ids, as change makes it.
func (m *mint) request(change func(*x509.CertificateRequest), ids ...string) []byte {
	m.Helper()
	template := &x509.CertificateRequest{}
	for _, id := range ids {
		parsed, err := url.Parse(id)
		m.must(err)
		template.URIs = append(template.URIs, parsed)
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, m.key)
	m.must(err)
	return der
}

// attested is a request whose evidence answers a challenge of that purpose for the key.
func (m *mint) attested(purpose string, key []byte) object {
	m.Helper()
	issued := m.challenge(attestd.FormatNitro, object{"tenant": "blue", "purpose": purpose}).Challenge
	digest, err := issued.Binding(key).Digest()
	m.must(err)
	now := uint64(time.Now().UnixMilli()) //nolint:gosec // after 1970
	document, err := m.aws.Document(forge.Document{Nonce: digest, Milliseconds: &now, PublicKey: key})
	m.must(err)
	return object{"challenge_id": issued.ID, "format": "nitro", "tenant": "blue", "evidence": document}
}

// with adds members.
func (o object) with(members object) object {
	for name, value := range members {
		o[name] = value
	}
	return o
}

// x509 asks for an X509-SVID of the enclave's.
func (m *mint) x509(members object) answer {
	m.Helper()
	ask := m.attested(svid.Purpose, spki(m, m.key.Public())).with(object{"csr": m.request(nil, signerID)})
	return m.post("/v1/svid", ask.with(members))
}

// jwt asks for a JWT-SVID.
func (m *mint) jwt(members object) answer {
	m.Helper()
	key := spki(m, m.key.Public())
	ask := m.attested(svid.Purpose, key).with(object{"key_spki": key, "audience": []string{"bank"}})
	return m.post("/v1/svid", ask.with(members))
}

func (m *mint) issued(got answer) svid.Document {
	m.Helper()
	if got.status != http.StatusOK {
		m.Fatalf("got %d %s", got.status, got.body)
	}
	var document svid.Document
	m.must(json.Unmarshal(got.body, &document))
	if document.Schema != svid.Schema || document.AppraisalID == "" {
		m.Fatalf("got %s", got.body)
	}
	return document
}

// node is the subject that the enclave is.
func (m *mint) node() subject.ID {
	m.Helper()
	id, err := subject.AgentID("example.org", attestd.FormatNitro, attestd.Handle{
		Kind: attestd.HandleInstance, Value: forge.AWSModuleID,
	})
	m.must(err)
	return id
}

// hold quarantines an id.
func (m *mint) hold(id subject.ID) {
	m.Helper()
	m.must(m.store.Write(context.Background(), subject.Write{
		Bars: []subject.BarWrite{{Key: id.Key(), Next: &subject.Bar{
			Key: id.Key(), State: attestd.StateQuarantined, Tenant: "blue", Code: subject.CodeOperator, By: "ann",
			At: m.store.Now(),
		}}},
		Audit: []audit.Record{{
			At: m.store.Now(), Actor: "ann", Tenant: "blue", Action: "quarantine", Outcome: "done",
		}},
	}))
}

// spire mints what attestd grants, with keys of its own.
type spire struct {
	world  *mint
	key    *ecdsa.PrivateKey
	root   []byte
	absent bool
	// mu guards what follows: entries, what is done before attestd is asked, and what is changed in
	// what is minted.
	mu      sync.Mutex
	entries []wire.Entry
	before  func()
	alter   func(claims map[string]any)
	forge   func(leaf *x509.Certificate, key *crypto.PublicKey)
	asked   int
	broken  error
	minted  []time.Duration
}

func newSPIRE(m *mint) *spire {
	m.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	m.must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		URIs: []*url.URL{{Scheme: "spiffe", Host: "example.org"}},
	}
	root, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	m.must(err)
	return &spire{world: m, key: key, root: root}
}

func (s *spire) Connected() bool { return !s.absent }

func (s *spire) refresh(_ context.Context, ids []string) (wire.Map, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := wire.Map{At: time.Now()}
	for _, entry := range s.entries {
		for _, id := range ids {
			if entry.SPIFFEID == id {
				out.Entries = append(out.Entries, entry)
			}
		}
	}
	return out, s.broken
}

// begin is what happens before attestd is asked.
func (s *spire) begin(seconds int) {
	s.mu.Lock()
	s.asked++
	s.minted = append(s.minted, time.Duration(seconds)*time.Second)
	before := s.before
	s.mu.Unlock()
	if before != nil {
		before()
	}
}

func (s *spire) MintX509(ctx context.Context, what wire.MintX509) (wire.MintedX509, error) {
	s.begin(what.TTLSeconds)
	csr, err := x509.ParseCertificateRequest(what.CSR)
	if err != nil {
		return wire.MintedX509{}, err
	}
	digest := sha256.Sum256(csr.RawSubjectPublicKeyInfo)
	granted, err := s.world.office.Grant(ctx, wire.GrantRequest{
		Kind: wire.GrantWorkloadX509, ID: csr.URIs[0].String(), KeySHA256: digest[:],
	})
	if err != nil {
		return wire.MintedX509{}, s.refusal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), URIs: csr.URIs, NotBefore: time.Now().Add(-10 * time.Second),
		NotAfter: time.Now().Add(time.Duration(what.TTLSeconds) * time.Second),
		ExtraExtensions: []pkix.Extension{{
			Id: oid(granted.ExtensionOID), Value: granted.Extension,
		}},
	}
	var key crypto.PublicKey = csr.PublicKey
	if s.forge != nil {
		s.forge(leaf, &key)
	}
	root, err := x509.ParseCertificate(s.root)
	if err != nil {
		return wire.MintedX509{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, root, key, s.key)
	return wire.MintedX509{
		ID: csr.URIs[0].String(), Certificates: [][]byte{der}, ExpiresAt: leaf.NotAfter.Unix(),
		Roots: [][]byte{s.root},
	}, err
}

func oid(text string) (out asn1.ObjectIdentifier) {
	for part := range strings.SplitSeq(text, ".") {
		number, _ := strconv.Atoi(part)
		out = append(out, number)
	}
	return out
}

// refusal is what SPIRE makes of what its composer refused.
func (s *spire) refusal(err error) error {
	var caller *attestd.CallerError
	if !errors.As(err, &caller) {
		return err
	}
	return &attestd.UndecidedError{
		Check: "spire.server", Class: attestd.ClassStoreUnavailable, Got: "an error", Want: "none",
		Hint: "see SPIRE", Err: errors.New("the plugin refused"),
	}
}

func (s *spire) MintJWT(ctx context.Context, what wire.MintJWT) (wire.MintedJWT, error) {
	s.begin(what.TTLSeconds)
	expires := time.Now().Unix() + int64(what.TTLSeconds)
	granted, err := s.world.office.Grant(ctx, wire.GrantRequest{
		Kind: wire.GrantWorkloadJWT, ID: what.ID, Audience: what.Audience, ExpiresAt: expires,
	})
	if err != nil {
		return wire.MintedJWT{}, s.refusal(err)
	}
	claims := map[string]any{"sub": what.ID, "aud": what.Audience, "exp": granted.ExpiresAt}
	for name, value := range granted.Claims {
		claims[name] = value
	}
	if s.alter != nil {
		s.alter(claims)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return wire.MintedJWT{}, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: s.key}, nil)
	if err != nil {
		return wire.MintedJWT{}, err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return wire.MintedJWT{}, err
	}
	token, err := signed.CompactSerialize()
	return wire.MintedJWT{Token: token, ExpiresAt: granted.ExpiresAt}, err
}

// claims reads a token with SPIRE's key.
func (m *mint) claims(token string) map[string]any {
	m.Helper()
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	m.must(err)
	payload, err := signed.Verify(m.spire.key.Public())
	m.must(err)
	decoder := json.NewDecoder(bytes.NewReader(payload))
	var out map[string]any
	m.must(decoder.Decode(&out))
	return out
}
