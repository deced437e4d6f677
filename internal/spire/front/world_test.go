package front_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/spire/front"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/nodeca"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// TestMain fails where a front that has ended leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const nodeID = "spiffe://example.org/spire/agent/attestd/tpm/0a1b"

// office is one that grants what it is asked and says who asked.
type office struct {
	mu        sync.Mutex
	asked     []string
	source    string
	mapped    []wire.Map
	number    uint64
	ordered   chan struct{}
	changed   chan struct{}
	snapshots int
	version   uint64
	revision  string
	pad       string
	failing   error
	allowed   string
}

func newOffice() *office {
	return &office{number: 1, version: 1, revision: "r1", ordered: make(chan struct{}), changed: make(chan struct{})}
}

func (o *office) note(what, source string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked, o.source = append(o.asked, what), source
}

func (o *office) Begin(_ context.Context, _ wire.NodeBegin, source string) (wire.NodeChallenge, error) {
	o.note(wire.MethodNodeBegin, source)
	return wire.NodeChallenge{Challenge: json.RawMessage(`{}`), Keys: json.RawMessage(`{}`)}, nil
}

func (o *office) Finish(_ context.Context, _ wire.NodeFinish, source string) (wire.NodeVerdict, error) {
	o.note(wire.MethodNodeFinish, source)
	return wire.NodeVerdict{}, &issuance.Rejected{AppraisalID: "apr-7"}
}

func (o *office) Grant(_ context.Context, ask wire.GrantRequest) (wire.Granted, error) {
	o.note(wire.MethodGrant, "")
	if ask.ID == "panic" {
		panic("an office's own mistake")
	}
	return wire.Granted{ExpiresAt: 7}, nil
}

func (o *office) Holdover(context.Context, wire.HoldoverRequest) (wire.HoldoverAnswer, error) {
	o.note(wire.MethodHoldover, "")
	return wire.HoldoverAnswer{Off: true}, nil
}

func (o *office) SetMap(whole wire.Map) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mapped = append(o.mapped, whole)
	return nil
}

func (o *office) Orders() (wire.Orders, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return wire.Orders{Number: o.number, Bans: []string{nodeID}}, o.ordered
}

// order gives the next orders.
func (o *office) order() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.number++
	close(o.ordered)
	o.ordered = make(chan struct{})
}

func (o *office) SnapshotSince(id subject.ID, revision string) (wire.Signed, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.snapshots++
	said := wire.Snapshot{AgentID: string(id), WorkloadsRevision: o.revision, Tenant: o.pad}
	if revision != o.revision {
		said.Workloads = map[string]string{"aa": "name"}
	}
	payload, err := json.Marshal(said)
	return wire.Signed{Payload: payload, Signature: []byte{1}}, errors.Join(err, o.failing)
}

func (o *office) Version(subject.ID) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.version
}

func (o *office) Changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.changed
}

// change says that a snapshot may say something else; none does.
func (o *office) change() {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
}

// alter changes what every snapshot says.
func (o *office) alter() {
	o.mu.Lock()
	o.version++
	o.mu.Unlock()
	o.change()
}

func (o *office) Allow(caller string) bool {
	if caller == "panic" {
		panic("an office's own mistake")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return caller == o.allowed
}

// bannedID is an agent that SPIRE has banned.
const bannedID = "spiffe://example.org/spire/agent/attestd/tpm/banned"

func (o *office) Agent(id string) (wire.Agent, bool) {
	return wire.Agent{ID: id, Banned: id == bannedID}, id == bannedID || id == nodeID
}

func (o *office) said() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.asked...)
}

// records keeps operators as long as it lives.
type records struct {
	mu   sync.Mutex
	all  map[string]operator.Record
	down error
}

func (r *records) Operator(_ context.Context, name string) (operator.Record, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	record, found := r.all[name]
	return record, found, r.down
}

func (r *records) Operators(context.Context) ([]operator.Record, error) { return nil, nil }

func (r *records) PutOperator(_ context.Context, change operator.Change) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	change.Next.Generation = change.Expect + 1
	r.all[change.Next.Name] = change.Next
	return nil
}

// world is a front that runs, over a PKI, a book and a node CA of its own.
type world struct {
	testing.TB
	office     *office
	store      *records
	pki        *operator.PKI
	book       *operator.Book
	root       operator.Principal
	ca         *nodeca.CA
	controller *front.Controller
	config     front.Config
	front      *front.Front

	mu       sync.Mutex
	skew     time.Duration
	refusals []front.Refusal
	reached  []wire.Reached
	stop     func()
}

// clock is the machine's, which TLS clients go by, with what the test adds.
func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.skew)
}

func (w *world) advance(by time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.skew += by
}

func newWorld(t testing.TB) *world {
	t.Helper()
	// Paths of unix sockets are short (unix(7)), those of tests are long.
	folder, err := os.MkdirTemp("", "front")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if err := os.Chmod(folder, 0o755); err != nil { //nolint:gosec // other users connect to the socket
		t.Fatal(err)
	}
	w := &world{TB: t, office: newOffice(), store: &records{all: map[string]operator.Record{}}}
	w.must(func() (err error) {
		w.pki, err = operator.OpenPKI(filepath.Join(folder, "pki"), nil, w.clock)
		return err
	})
	w.must(func() (err error) { w.ca, err = nodeca.Open(filepath.Join(folder, "pki"), w.clock); return err })
	token := filepath.Join(folder, "token")
	w.must(func() error { return operator.OpenToken(token, rand.Reader) })
	w.must(func() (err error) {
		w.book, err = operator.NewBook(operator.Config{
			Store: w.store, PKI: w.pki, Now: w.clock, TokenPath: token, CertificateLifetime: time.Hour,
			LoginLifetime: time.Minute, Rand: rand.Reader,
		})
		return err
	})
	bearer, err := os.ReadFile(token)
	if err != nil {
		t.Fatal(err)
	}
	w.must(func() (err error) { w.root, err = w.book.ByToken(strings.TrimSpace(string(bearer))); return err })
	w.controller = front.NewController()
	w.config = front.Config{
		Office: w.office, Book: w.book, NodeCA: w.ca, Controller: w.controller, TLS: w.pki.ServerTLS(),
		Users: []uint32{4242}, Unix: filepath.Join(folder, "s"), Listen: "127.0.0.1:0", Gate: "127.0.0.1:0",
		StatePath: filepath.Join(folder, "controller.json"), Now: w.clock, Logger: slog.New(slog.DiscardHandler),
		Reached: func(one wire.Reached) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.reached = append(w.reached, one)
		},
		Note: func(one front.Refusal) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.refusals = append(w.refusals, one)
		},
	}
	w.run()
	return w
}

func (w *world) must(do func() error) {
	w.Helper()
	if err := do(); err != nil {
		w.Fatal(err)
	}
}

// run begins the front, which the end of the test ends.
func (w *world) run() {
	w.Helper()
	w.must(func() (err error) { w.front, err = front.New(w.config); return err })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.front.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				w.Error(err)
			}
		case <-time.After(10 * time.Second):
			w.Error("the front does not end")
		}
	})
	w.Cleanup(func() { w.stop() })
}

// noted returns what was refused, by whom it was asked.
func (w *world) noted() []front.Refusal {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]front.Refusal(nil), w.refusals...)
}

func key(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// operator returns the certificate of a new operator.
func (w *world) operator(name string, role operator.Role, tenants ...string) tls.Certificate {
	w.Helper()
	_, token, err := w.book.Add(context.Background(), w.root, name, []operator.Role{role}, tenants)
	if err != nil {
		w.Fatal(err)
	}
	own := key(w)
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, own)
	if err != nil {
		w.Fatal(err)
	}
	given, err := w.book.Login(context.Background(), token.String(), request)
	if err != nil {
		w.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{given.DER, given.CA}, PrivateKey: own}
}

// node returns a certificate of the node CA.
func (w *world) node(id string, life time.Duration) tls.Certificate {
	w.Helper()
	var own crypto.Signer = key(w)
	spki, err := x509.MarshalPKIXPublicKey(own.Public())
	if err != nil {
		w.Fatal(err)
	}
	chain, err := w.ca.Issue(spki, id, w.clock().Add(life))
	if err != nil {
		w.Fatal(err)
	}
	return tls.Certificate{Certificate: chain, PrivateKey: own}
}

// dialTLS returns a client with the certificate.
func (w *world) dialTLS(certificate tls.Certificate, handler link.Handler) *link.Client {
	w.Helper()
	roots := x509.NewCertPool()
	root, err := x509.ParseCertificate(w.pki.CA())
	if err != nil {
		w.Fatal(err)
	}
	roots.AddCert(root)
	c := link.NewClient(link.ClientConfig{
		Addresses: []string{"tcp:" + w.front.Bound().Listen.String()}, Handler: handler,
		TLS: func() (*tls.Config, error) {
			return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}}, nil
		},
	})
	w.Cleanup(c.Close)
	return c
}

func (w *world) dialUnix(handler link.Handler) *link.Client {
	w.Helper()
	c := link.NewClient(link.ClientConfig{Addresses: []string{"unix:" + w.config.Unix}, Handler: handler})
	w.Cleanup(c.Close)
	return c
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// classOf returns the class of an error that came over a link, and "" for none.
func classOf(t testing.TB, err error) attestd.Class {
	t.Helper()
	var said *link.Error
	if err != nil && !errors.As(err, &said) {
		t.Fatalf("not an error of a link: %v", err)
	}
	if err == nil {
		return ""
	}
	return said.Class
}

// eventually waits for what another goroutine does.
func eventually(t testing.TB, what string, true func() bool) {
	t.Helper()
	for began := time.Now(); !true(); time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			t.Fatalf("never: %s", what)
		}
	}
}
