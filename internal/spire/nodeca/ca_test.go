package nodeca_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/spire/nodeca"
)

const nodeID = "spiffe://example.org/spire/agent/attestd/tpm/0a1b"

// world is a CA with a clock that the test moves.
type world struct {
	testing.TB
	folder string
	now    time.Time
	ca     *nodeca.CA
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, folder: filepath.Join(t.TempDir(), "pki"), now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	w.ca = w.open()
	return w
}

func (w *world) clock() time.Time { return w.now }

func (w *world) open() *nodeca.CA {
	w.Helper()
	ca, err := nodeca.Open(w.folder, w.clock)
	if err != nil {
		w.Fatal(err)
	}
	return ca
}

func key(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func spkiOf(t testing.TB, public crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (w *world) issue(public crypto.PublicKey) *x509.Certificate {
	w.Helper()
	chain, err := w.ca.Issue(spkiOf(w, public), nodeID, w.now.Add(time.Hour))
	if err != nil {
		w.Fatal(err)
	}
	if len(chain) != 2 || !bytes.Equal(chain[1], w.ca.Certificate()) {
		w.Fatalf("a chain of %d", len(chain))
	}
	return parse(w, chain[0])
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
	return &tls.ConnectionState{
		Version: tls.VersionTLS13, HandshakeComplete: true, PeerCertificates: []*x509.Certificate{leaf},
	}
}

// caKey returns the CA's own key: what nobody else can do shows what the form of a certificate is worth.
func (w *world) caKey() crypto.Signer {
	w.Helper()
	content, err := os.ReadFile(filepath.Join(w.folder, nodeca.KeyFile))
	if err != nil {
		w.Fatal(err)
	}
	block, _ := pem.Decode(content)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		w.Fatal(err)
	}
	return parsed.(crypto.Signer)
}

func sign(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, der)
}

func refused(t testing.TB, err error, class attestd.Class) {
	t.Helper()
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != class || caller.Hint == "" {
		t.Errorf("got %v, want an error of class %s", err, class)
	}
}

func TestANodeIsKnownByItsCertificate(t *testing.T) {
	w := newWorld(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"P-256": key(t), "P-384": p384, "RSA": rsaKey} {
		leaf := w.issue(key.Public())
		id, spki, err := w.ca.Identify(shows(leaf))
		if err != nil || id != nodeID || !bytes.Equal(spki, spkiOf(t, key.Public())) {
			t.Errorf("%s: %q, %v", name, id, err)
		}
		if !leaf.NotAfter.Equal(w.now.Add(time.Hour)) {
			t.Errorf("%s: ends %s", name, leaf.NotAfter)
		}
	}
}

func TestOnlyWhatThisCAGaveToANodeNamesOne(t *testing.T) {
	w := newWorld(t)
	good := w.issue(key(t).Public())
	other := newWorld(t)
	forge := func(change func(*x509.Certificate)) *tls.ConnectionState {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(7), Subject: good.Subject, NotBefore: good.NotBefore, NotAfter: good.NotAfter,
			KeyUsage: good.KeyUsage, ExtKeyUsage: good.ExtKeyUsage, URIs: good.URIs, BasicConstraintsValid: true,
		}
		change(template)
		return shows(sign(t, template, parse(t, w.ca.Certificate()), key(t).Public(), w.caKey()))
	}
	uri := func(text string) []*url.URL {
		parsed, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return []*url.URL{parsed}
	}
	if _, _, err := w.ca.Identify(forge(func(*x509.Certificate) {})); err != nil {
		t.Fatalf("the forger's own form is not the CA's: %v", err)
	}
	later := shows(good)
	huge := good.NotAfter
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Log("this Go makes no RSA key of 1024 bits:", err)
	}
	rows := map[string]*tls.ConnectionState{
		"no connection":               nil,
		"no certificate":              {Version: tls.VersionTLS13, HandshakeComplete: true},
		"a handshake that goes on":    {Version: tls.VersionTLS13, PeerCertificates: later.PeerCertificates},
		"TLS 1.2":                     {Version: tls.VersionTLS12, HandshakeComplete: true, PeerCertificates: later.PeerCertificates},
		"a resumed session":           {Version: tls.VersionTLS13, HandshakeComplete: true, DidResume: true, PeerCertificates: later.PeerCertificates},
		"another CA of the same name": shows(other.issue(key(t).Public())),
		"the CA itself":               shows(parse(t, w.ca.Certificate())),
		"a CA below it": forge(func(c *x509.Certificate) {
			c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
		}),
		"one for servers": forge(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
		"one for servers, too": forge(func(c *x509.Certificate) {
			c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		}),
		"one for anything":    forge(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }),
		"one for no purpose":  forge(func(c *x509.Certificate) { c.ExtKeyUsage = nil }),
		"two URI SANs":        forge(func(c *x509.Certificate) { c.URIs = append(uri(nodeID+"0"), c.URIs...) }), // neg: 141
		"no SAN":              forge(func(c *x509.Certificate) { c.URIs = nil }),
		"a DNS name beside":   forge(func(c *x509.Certificate) { c.DNSNames = []string{"attestd"} }),
		"another common name": forge(func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "root"} }),
		"one that has ended":  forge(func(c *x509.Certificate) { c.NotAfter = w.now.Add(-time.Second) }),
		"one of tomorrow":     forge(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = w.now.Add(time.Hour), huge.Add(time.Hour) }),
		"an operator's form":  forge(func(c *x509.Certificate) { c.URIs = uri("attestd://operator/alice/1") }),
		// neg: 142
		"a workload's id":      forge(func(c *x509.Certificate) { c.URIs = uri("spiffe://example.org/web") }),
		"another attestor's":   forge(func(c *x509.Certificate) { c.URIs = uri("spiffe://example.org/spire/agent/join_token/x") }),
		"a way out":            forge(func(c *x509.Certificate) { c.URIs = uri("spiffe://example.org/spire/agent/attestd/../../../web") }),
		"an escape":            forge(func(c *x509.Certificate) { c.URIs = uri("spiffe://example.org/spire/agent/attestd/%2e%2e/a") }),
		"an empty segment":     forge(func(c *x509.Certificate) { c.URIs = uri("spiffe://example.org/spire/agent/attestd//a") }),
		"an upper-case domain": forge(func(c *x509.Certificate) { c.URIs = uri("spiffe://Example.org/spire/agent/attestd/a") }),
		"a query":              forge(func(c *x509.Certificate) { c.URIs = uri(nodeID + "?x=1") }),
		"a fragment":           forge(func(c *x509.Certificate) { c.URIs = uri(nodeID + "#x") }),
		"a user":               forge(func(c *x509.Certificate) { c.URIs = uri("spiffe://a@example.org/spire/agent/attestd/a") }),
		"2,049 bytes":          forge(func(c *x509.Certificate) { c.URIs = uri(nodeID + strings.Repeat("a", 2049-len(nodeID))) }),
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := *good
	rows["a key of another kind"] = shows(sign(t, &template, parse(t, w.ca.Certificate()), ed, w.caKey()))
	if small != nil {
		rows["a short RSA key"] = shows(sign(t, &template, parse(t, w.ca.Certificate()), small.Public(), w.caKey()))
	}
	for name, state := range rows {
		id, spki, err := w.ca.Identify(state)
		if err == nil || id != "" || spki != nil {
			t.Errorf("%s: is known as %q", name, id)
			continue
		}
		t.Run(name, func(t *testing.T) { refused(t, err, attestd.ClassUnauthenticated) })
	}
	w.now = w.now.Add(2 * time.Hour)
	_, _, err = w.ca.Identify(later)
	refused(t, err, attestd.ClassUnauthenticated)
}

func TestTheCACertifiesNothingElse(t *testing.T) {
	w := newWorld(t)
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	modulus := func(bits int) *big.Int {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		return n.Add(n, big.NewInt(1))
	}
	good, soon := spkiOf(t, key(t).Public()), w.now.Add(time.Hour)
	for name, row := range map[string]struct {
		spki  []byte
		id    string
		until time.Time
		class attestd.Class
	}{
		"no key":              {nil, nodeID, soon, attestd.ClassKeyProperties},
		"a byte more":         {append(bytes.Clone(good), 0), nodeID, soon, attestd.ClassKeyProperties},
		"Ed25519":             {spkiOf(t, ed), nodeID, soon, attestd.ClassKeyProperties},
		"P-521":               {spkiOf(t, p521.Public()), nodeID, soon, attestd.ClassKeyProperties},
		"RSA-1024":            {spkiOf(t, &rsa.PublicKey{N: modulus(1024), E: 65537}), nodeID, soon, attestd.ClassKeyProperties},
		"RSA-16384: neg: 151": {spkiOf(t, &rsa.PublicKey{N: modulus(16384), E: 65537}), nodeID, soon, attestd.ClassKeyProperties},
		"RSA-6144":            {spkiOf(t, &rsa.PublicKey{N: modulus(6144), E: 65537}), nodeID, soon, attestd.ClassKeyProperties},
		"RSA with exponent 3": {spkiOf(t, &rsa.PublicKey{N: modulus(2048), E: 3}), nodeID, soon, attestd.ClassKeyProperties},
		"no id":               {good, "", soon, attestd.ClassMalformed},
		"a workload":          {good, "spiffe://example.org/web", soon, attestd.ClassMalformed},
		"dots":                {good, "spiffe://example.org/spire/agent/attestd/../x", soon, attestd.ClassMalformed}, // neg: 142
		"the attestor itself": {good, "spiffe://example.org/spire/agent/attestd", soon, attestd.ClassMalformed},
		"two lines":           {good, nodeID + "\nspiffe://example.org/x", soon, attestd.ClassMalformed},
		"no time":             {good, nodeID, time.Time{}, attestd.ClassMalformed},
		"ended already":       {good, nodeID, w.now, attestd.ClassMalformed},
		"for a year":          {good, nodeID, w.now.Add(365 * 24 * time.Hour), attestd.ClassMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			chain, err := w.ca.Issue(row.spki, row.id, row.until)
			if chain != nil {
				t.Error("certified")
			}
			refused(t, err, row.class)
		})
	}
}

// records is a store of one operator.
type records struct {
	mu  sync.Mutex
	one operator.Record
}

func (r *records) Operator(_ context.Context, name string) (operator.Record, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.one, r.one.Name == name, nil
}

func (r *records) Operators(context.Context) ([]operator.Record, error) { return nil, nil }

func (r *records) PutOperator(_ context.Context, change operator.Change) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.one = change.Next
	r.one.Generation = change.Expect + 1
	return nil
}

// TestNodesAndOperatorsAreNeverTakenForEachOther: both CAs lie in one folder and sign client
// certificates, and one listener asks for either.
func TestNodesAndOperatorsAreNeverTakenForEachOther(t *testing.T) {
	w := newWorld(t)
	pki, err := operator.OpenPKI(w.folder, nil, w.clock)
	if err != nil {
		t.Fatal(err)
	}
	tokens := filepath.Join(t.TempDir(), "token")
	if err := operator.OpenToken(tokens, rand.Reader); err != nil {
		t.Fatal(err)
	}
	book, err := operator.NewBook(operator.Config{
		Store: &records{}, PKI: pki, Now: w.clock, TokenPath: tokens, CertificateLifetime: time.Hour,
		LoginLifetime: time.Minute, Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	bearer, err := os.ReadFile(tokens)
	if err != nil {
		t.Fatal(err)
	}
	root, err := book.ByToken(strings.TrimSpace(string(bearer)))
	if err != nil {
		t.Fatal(err)
	}
	_, token, err := book.Add(t.Context(), root, "composer", []operator.Role{operator.Issuer}, []string{"*"})
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key(t))
	if err != nil {
		t.Fatal(err)
	}
	given, err := book.Login(t.Context(), token.String(), request)
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := parse(t, given.DER), w.issue(key(t).Public())
	if _, err := book.ByCertificate(t.Context(), shows(theirs)); err != nil {
		t.Fatal(err)
	}
	_, _, err = w.ca.Identify(shows(theirs))
	refused(t, err, attestd.ClassUnauthenticated)
	_, err = book.ByCertificate(t.Context(), shows(ours))
	refused(t, err, attestd.ClassUnauthenticated)
	// Even with the other's form, and the other's certificate sent along.
	copied := *theirs
	copied.PublicKey = nil
	forged := sign(t, &copied, parse(t, w.ca.Certificate()), key(t).Public(), w.caKey())
	both := shows(forged)
	both.PeerCertificates = append(both.PeerCertificates, parse(t, given.CA), theirs)
	_, err = book.ByCertificate(t.Context(), both)
	refused(t, err, attestd.ClassUnauthenticated)
	_, _, err = w.ca.Identify(both)
	refused(t, err, attestd.ClassUnauthenticated)
}

func TestTheCAOutlivesItsProcess(t *testing.T) {
	w := newWorld(t)
	leaf := w.issue(key(t).Public())
	if id, _, err := w.open().Identify(shows(leaf)); err != nil || id != nodeID {
		t.Errorf("another CA after a restart: %v", err)
	}
	for _, name := range []string{nodeca.KeyFile, nodeca.CertFile} {
		info, err := os.Stat(filepath.Join(w.folder, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestTwoThatStartAtOnceHaveOneCA(t *testing.T) {
	w := newWorld(t)
	w.folder = filepath.Join(t.TempDir(), "pki")
	var all sync.WaitGroup
	found := make([][]byte, 8)
	for index := range found {
		all.Add(1)
		go func() {
			defer all.Done()
			// One of two may find the other's key before its certificate is there, and makes one more for it.
			ca, err := nodeca.Open(w.folder, w.clock)
			if err != nil {
				t.Error(err)
				return
			}
			found[index] = ca.Certificate()
		}()
	}
	all.Wait()
	for _, one := range found {
		if !bytes.Equal(one, found[0]) {
			t.Fatal("two CAs")
		}
	}
}

func TestACAThatCannotBeTrustedDoesNotOpen(t *testing.T) {
	other := newWorld(t).folder
	content := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join(other, name))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	put := func(name string, content []byte) func(*world) {
		return func(w *world) {
			if err := os.WriteFile(filepath.Join(w.folder, name), content, 0o600); err != nil {
				w.Fatal(err)
			}
		}
	}
	for name, spoil := range map[string]func(*world){
		"a key that others can read": func(w *world) { chmod(w, filepath.Join(w.folder, nodeca.KeyFile), 0o640) },
		"a folder that others write": func(w *world) { chmod(w, w.folder, 0o777) },
		"a certificate of another":   put(nodeca.CertFile, content(nodeca.CertFile)),
		"a key of another":           put(nodeca.KeyFile, content(nodeca.KeyFile)),
		"an empty key":               put(nodeca.KeyFile, nil),
		"a long key":                 put(nodeca.KeyFile, make([]byte, 17<<10)),
		"two certificates":           put(nodeca.CertFile, append(content(nodeca.CertFile), content(nodeca.CertFile)...)),
		"a key for a certificate":    put(nodeca.CertFile, content(nodeca.KeyFile)),
		"a CA that has ended":        func(w *world) { w.now = w.now.Add(11 * 365 * 24 * time.Hour) },
		"a clock from before the CA": func(w *world) { w.now = w.now.Add(-time.Hour) },
		"a link for a key": func(w *world) {
			path := filepath.Join(w.folder, nodeca.KeyFile)
			if err := errors.Join(os.Rename(path, path+".x"), os.Symlink(path+".x", path)); err != nil {
				w.Fatal(err)
			}
		},
		"the CA of operators": func(w *world) {
			if _, err := operator.OpenPKI(w.folder, nil, w.clock); err != nil {
				w.Fatal(err)
			}
			for from, to := range map[string]string{"ca.key": nodeca.KeyFile, "ca.pem": nodeca.CertFile} {
				if err := os.Rename(filepath.Join(w.folder, from), filepath.Join(w.folder, to)); err != nil {
					w.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			spoil(w)
			_, err := nodeca.Open(w.folder, w.clock)
			refused(t, err, attestd.ClassConfig)
			if err != nil && strings.Contains(err.Error(), w.folder) {
				t.Errorf("%v shows where the key is", err)
			}
		})
	}
}

func chmod(t testing.TB, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil { //nolint:gosec // the test spoils it on purpose
		t.Fatal(err)
	}
}

func TestTheRootOfAnotherGoesWithTheCA(t *testing.T) {
	w := newWorld(t)
	if got := w.ca.WithRoot([]byte("root")).Root(); string(got) != "root" {
		t.Errorf("got %q", got)
	}
	if !w.ca.Ends().After(w.now) || w.ca.Pool().Equal(x509.NewCertPool()) {
		t.Error("the CA has no end or no pool")
	}
}
