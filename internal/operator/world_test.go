package operator_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/operator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a [operator.Store] that keeps what it is told as long as it lives.
type memory struct {
	mu      sync.Mutex
	records map[string]operator.Record
	changes []operator.Change
	down    error
}

func (m *memory) Operator(_ context.Context, name string) (operator.Record, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	record, found := m.records[name]
	return record, found, m.down
}

func (m *memory) Operators(context.Context) ([]operator.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []operator.Record
	for _, record := range m.records {
		list = append(list, record)
	}
	slices.SortFunc(list, func(a, b operator.Record) int { return strings.Compare(a.Name, b.Name) })
	return list, m.down
}

func (m *memory) PutOperator(_ context.Context, change operator.Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return m.down
	}
	if m.records[change.Next.Name].Generation != change.Expect {
		return operator.ErrMoved
	}
	change.Next.Generation = change.Expect + 1
	m.records[change.Next.Name] = change.Next
	m.changes = append(m.changes, change)
	return nil
}

// world is a book over a PKI of its own, with a clock that the test moves.
type world struct {
	testing.TB
	folder string
	store  *memory
	pki    *operator.PKI
	book   *operator.Book

	mu  sync.Mutex
	now time.Time
}

func (w *world) clock() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }

func (w *world) advance(by time.Duration) { w.mu.Lock(); defer w.mu.Unlock(); w.now = w.now.Add(by) }

const (
	loginLife = 15 * time.Minute
	life      = 12 * time.Hour
)

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		TB: t, folder: t.TempDir(), store: &memory{records: map[string]operator.Record{}},
		now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
	}
	var err error
	w.pki, err = operator.OpenPKI(filepath.Join(w.folder, "pki"), []string{"ops.example.org", "10.1.2.3"}, w.clock)
	if err != nil {
		t.Fatal(err)
	}
	if err := operator.OpenToken(w.tokenPath(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	w.book, err = operator.NewBook(operator.Config{
		Store: w.store, PKI: w.pki, Now: w.clock, TokenPath: w.tokenPath(), CertificateLifetime: life,
		LoginLifetime: loginLife, Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) tokenPath() string { return filepath.Join(w.folder, operator.TokenFile) }

func (w *world) token() string {
	w.Helper()
	content, err := os.ReadFile(w.tokenPath())
	if err != nil {
		w.Fatal(err)
	}
	return strings.TrimSpace(string(content))
}

func (w *world) bootstrap() operator.Principal {
	w.Helper()
	who, err := w.book.ByToken(w.token())
	if err != nil {
		w.Fatal(err)
	}
	return who
}

// add names an operator with the bootstrap token and returns the login token.
func (w *world) add(name string, roles []operator.Role, tenants ...string) string {
	w.Helper()
	_, token, err := w.book.Add(context.Background(), w.bootstrap(), name, roles, tenants)
	if err != nil {
		w.Fatal(err)
	}
	return token.String()
}

func (w *world) csr(key crypto.Signer) []byte {
	w.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		w.Fatal(err)
	}
	return der
}

func (w *world) key() *ecdsa.PrivateKey {
	w.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.Fatal(err)
	}
	return key
}

// login redeems a token for a key of its own.
func (w *world) login(token string) tls.Certificate {
	w.Helper()
	key := w.key()
	given, err := w.book.Login(context.Background(), token, w.csr(key))
	if err != nil {
		w.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{given.DER, given.CA}, PrivateKey: key}
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// shows returns a connection on which the peer has proved to have the certificate's key.
func shows(leaf *x509.Certificate) *tls.ConnectionState {
	return &tls.ConnectionState{Version: tls.VersionTLS13, PeerCertificates: []*x509.Certificate{leaf}}
}

// forge signs whatever the template says with the key of attestd's own CA, as nobody else can: it shows
// what the form of a certificate is worth by itself.
func (w *world) forge(change func(*x509.Certificate)) *x509.Certificate {
	w.Helper()
	good := parse(w, w.login(w.add("mallory", []operator.Role{operator.Viewer}, "*")).Certificate[0])
	content, err := os.ReadFile(filepath.Join(w.folder, "pki", "ca.key"))
	if err != nil {
		w.Fatal(err)
	}
	block, _ := pem.Decode(content)
	caKey, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		w.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: good.Subject, NotBefore: good.NotBefore, NotAfter: good.NotAfter,
		KeyUsage: good.KeyUsage, ExtKeyUsage: good.ExtKeyUsage, URIs: good.URIs, BasicConstraintsValid: true,
	}
	change(template)
	return w.sign(template, parse(w, w.pki.CA()), caKey.(crypto.Signer))
}

func (w *world) sign(template, parent *x509.Certificate, key crypto.Signer) *x509.Certificate {
	w.Helper()
	public := w.key().Public()
	if template.PublicKey != nil { // a copy of another certificate keeps its key
		public = template.PublicKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		w.Fatal(err)
	}
	return parse(w, der)
}

// otherCA makes a CA that says of itself what attestd's own says, and a leaf of it that copies another.
func (w *world) otherCA(leaf *x509.Certificate) *x509.Certificate {
	w.Helper()
	key := w.key()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "attestd operators"},
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: leaf.AuthorityKeyId,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		w.Fatal(err)
	}
	return w.sign(leaf, parse(w, der), key)
}

// refused demands an error of the class, that names none of the secrets.
func (w *world) refused(err error, class attestd.Class, secrets ...string) {
	w.Helper()
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != class {
		w.Fatalf("got %v, want an error of class %s", err, class)
	}
	if caller.Hint == "" {
		w.Errorf("%v says nothing of what to do", err)
	}
	for _, secret := range secrets {
		if strings.Contains(err.Error()+caller.Hint, secret) || bytes.Contains([]byte(err.Error()), []byte(secret)) {
			w.Errorf("%v shows a secret", err)
		}
	}
}
