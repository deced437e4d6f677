package enforcer_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/subject"
)

const (
	gateway = "spiffe://example.org/gateway"
	secret  = "Zm9yIHRoaXMgdGVzdCBhbG9uZQ-0123456789"
)

// world has a book over a real file.
type world struct {
	t    *testing.T
	path string
	book *enforcer.Book
	ca   authority

	mu    sync.Mutex
	state map[subject.ID]decision.Standing
	fault decision.Code
	// twist changes who was identified.
	twist func(*decision.Who)
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// plain names an enforcement point of each kind.
func plain() string {
	return `schema: attestd.enforcers.v1
enforcers:
  - spiffe: ` + gateway + `
    may: [authzen, ext_authz]
    tenants: [acme]
    vouches: true
  - user: proxy
    may: [forward-auth]
    tenants: ["*"]
  - token: edge
    sha256: ` + sumOf(secret) + `
    may: [authzen, introspect]
    tenants: [acme, globex]
    rate: 2
    burst: 3
`
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, path: filepath.Join(t.TempDir(), "enforcers.yaml"), ca: newAuthority(t),
		state: map[subject.ID]decision.Standing{},
	}
	w.write(plain())
	book, err := enforcer.New(w.config())
	if err != nil {
		t.Fatal(err)
	}
	w.book = book
	return w
}

func (w *world) config() enforcer.Config {
	return enforcer.Config{
		Path: w.path, Identifier: w, Standings: w, LookupUser: lookup, Now: time.Now,
	}
}

func (w *world) write(document string) {
	w.t.Helper()
	if err := os.WriteFile(w.path, []byte(document), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// lookup knows this process's user as proxy.
func lookup(name string) (uint32, error) {
	if name != "proxy" {
		return 0, errors.New("user: unknown user " + name)
	}
	return uint32(os.Geteuid()), nil
}

// Identify implements [decision.Identifier] for X509-SVIDs of the world's authority.
func (w *world) Identify(
	_ context.Context, credential decision.Credential, at time.Time, epoch func(subject.ID) uint64,
) decision.Who {
	w.mu.Lock()
	fault := w.fault
	w.mu.Unlock()
	if fault != "" {
		return decision.Who{Fault: fault, FaultDetail: "as the test says"}
	}
	leaf := credential.Chain[0]
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: w.ca.pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return decision.Who{Fault: decision.CodeUnauthenticated, FaultDetail: err.Error()}
	}
	id := subject.ID(leaf.URIs[0].String())
	epoch(id)
	who := decision.Who{ID: id, Method: decision.MethodX509, Expires: leaf.NotAfter}
	if w.twist != nil {
		w.twist(&who)
	}
	return who
}

// Stands implements [decision.Standings].
func (w *world) Stands(id subject.ID, _ time.Time) decision.Standing {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state[id]
}

// Sequence implements [decision.Standings].
func (w *world) Sequence() uint64 { return 1 }

func (w *world) hold(id subject.ID, standing decision.Standing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state[id] = standing
}

// authority is a CA of one test.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return authority{key: key, cert: cert, pool: pool}
}

func (a authority) issue(t *testing.T, id string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), URIs: []*url.URL{uri}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serve answers requests on a listener with who sent them, or the problem.
func (w *world) serve(listener net.Listener, right enforcer.Right, header string) {
	w.t.Helper()
	server := &http.Server{
		ConnContext: enforcer.ConnContext, ReadHeaderTimeout: time.Second,
		Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			one, err := w.book.Of(r, right, header)
			if err != nil {
				enforcer.Refusal(err).Write(out)
				return
			}
			_, _ = out.Write([]byte(one.Name()))
		}),
	}
	go func() { _ = server.Serve(listener) }()
	w.t.Cleanup(func() { _ = server.Close() })
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// classOf returns the class of an error of a caller's; empty for another.
func classOf(err error) attestd.Class {
	var caller *attestd.CallerError
	var undecided *attestd.UndecidedError
	switch {
	case errors.As(err, &caller):
		return caller.Class
	case errors.As(err, &undecided):
		return undecided.Class
	}
	return ""
}

func replaced(document, old, with string) string {
	if !strings.Contains(document, old) {
		panic("the document has no " + old)
	}
	return strings.Replace(document, old, with, 1)
}
