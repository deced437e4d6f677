package admin_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
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

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin"
	"github.com/attestd/attestd/internal/operator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is the whole API, over a unix socket and over TLS, with parts that remember what they were
// asked.
type world struct {
	testing.TB
	parts    *parts
	config   admin.Config
	pki      *operator.PKI
	book     *operator.Book
	folder   string
	socket   string
	address  string
	inClear  string
	logged   *lockedBuffer
	stop     []func() error
	registry *prometheus.Registry

	mu  sync.Mutex
	now time.Time
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(data)
}

func (b *lockedBuffer) text() string { b.mu.Lock(); defer b.mu.Unlock(); return b.String() }

func (w *world) clock() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }

func (w *world) advance(by time.Duration) { w.mu.Lock(); defer w.mu.Unlock(); w.now = w.now.Add(by) }

// settings stands for a configuration, with what must not leave the house.
type settings struct {
	LogLevel string   `key:"log_level"`
	StateDir string   `key:"state_dir"`
	Limit    int      `key:"limit"`
	Tenants  []string `key:"tenants"`
	Database struct {
		DSN     string        `key:"dsn"`
		Timeout time.Duration `key:"timeout"`
	} `key:"database"`
}

func newWorld(t testing.TB) *world {
	t.Helper()
	folder, err := os.MkdirTemp("", "adm") // a socket's path has room for 100 letters
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	w := &world{
		TB: t, parts: newParts(), folder: folder, logged: &lockedBuffer{}, registry: prometheus.NewRegistry(),
		now: time.Now().UTC().Truncate(time.Second),
	}
	token := filepath.Join(folder, operator.TokenFile)
	must(t, operator.OpenToken(token, rand.Reader))
	w.pki, err = operator.OpenPKI(filepath.Join(folder, "pki"), nil, w.clock)
	must(t, err)
	w.book, err = operator.NewBook(operator.Config{
		Store: w.parts, PKI: w.pki, Now: w.clock, TokenPath: token, CertificateLifetime: time.Hour,
		LoginLifetime: 5 * time.Minute, Rand: rand.Reader,
	})
	must(t, err)
	shown := settings{LogLevel: "info", StateDir: folder, Limit: 7, Tenants: []string{"blue", "green"}}
	shown.Database.DSN, shown.Database.Timeout = canaryDSN, time.Minute
	var level slog.LevelVar
	level.Set(slog.LevelDebug)
	w.config = admin.Config{
		Book: w.book, Orders: w.parts, Enrolments: w.parts, Reappraisals: reappraisals{w.parts}, Nodes: w.parts, Subjects: w.parts,
		Index: w.parts, Explainer: w.parts, Keys: w.parts, Audit: w.parts, Conditions: w.parts, Now: w.clock,
		Decisions: decisions{w.parts}, Inventory: inventory{w.parts},
		Logger: slog.New(slog.NewJSONHandler(w.logged, &slog.HandlerOptions{Level: &level})), Level: &level,
		Registerer: w.registry, Gatherer: w.registry, Version: "0.0.1", Store: "sqlite", Started: w.clock(),
		Policies: func() []string {
			return []string{"production sha256:9f2c41d7", "blue=lax sha256:b1", "green=strict sha256:91"}
		},
		Settings: shown,
	}
	handler, err := admin.New(w.config)
	must(t, err)
	w.serve(handler)
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serve listens as the daemon does: a socket, TLS with attestd's own certificates, and the public port
// in the clear, where operators must not be answered.
func (w *world) serve(handler http.Handler) {
	w.Helper()
	w.socket = filepath.Join(w.folder, "s")
	unix, err := net.Listen("unix", w.socket)
	must(w, err)
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	must(w, err)
	clear, err := net.Listen("tcp", "127.0.0.1:0")
	must(w, err)
	w.address, w.inClear = secure.Addr().String(), clear.Addr().String()
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, ErrorLog: log.New(w.logged, "", 0),
		DisableGeneralOptionsHandler: true,
	}
	var running sync.WaitGroup
	for _, listener := range []net.Listener{unix, tls.NewListener(secure, w.pki.ServerTLS()), clear} {
		running.Go(func() { _ = server.Serve(listener) })
	}
	stopped := sync.OnceValue(func() error { err := server.Close(); running.Wait(); return err })
	w.stop = append(w.stop, stopped)
	w.Cleanup(func() { _ = stopped() })
}

// close ends what serves.
func (w *world) close() error {
	var errs []error
	for _, one := range w.stop {
		errs = append(errs, one())
	}
	w.stop = nil
	return errors.Join(errs...)
}

// background runs beside the test until it ends.
func (w *world) background(run func(context.Context)) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); run(ctx) }()
	w.Cleanup(func() { stop(); <-done })
}

func (w *world) token() string {
	w.Helper()
	content, err := os.ReadFile(filepath.Join(w.folder, operator.TokenFile))
	must(w, err)
	return strings.TrimSpace(string(content))
}

// asker is somebody who asks in one way.
type asker struct {
	client *http.Client
	base   string
	bearer string
}

func (w *world) local(bearer string) asker {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", w.socket)
		},
	}
	client := &http.Client{Transport: transport, CheckRedirect: noRedirect}
	return asker{client: client, base: "http://localhost", bearer: bearer}
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (w *world) root() asker { return w.local(w.token()) }

// remote asks over TLS with the certificates.
func (w *world) remote(certificates ...tls.Certificate) asker {
	w.Helper()
	ca, err := x509.ParseCertificate(w.pki.CA())
	must(w, err)
	settings := &tls.Config{ServerName: operator.ServerName, RootCAs: x509.NewCertPool(), Time: w.clock}
	settings.RootCAs.AddCert(ca)
	if len(certificates) != 0 {
		settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &certificates[0], nil
		}
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: settings}
	return asker{client: &http.Client{Transport: transport, CheckRedirect: noRedirect}, base: "https://" + w.address}
}

// named names an operator and returns how they ask, with a certificate.
func (w *world) named(name string, tenant string, roles ...operator.Role) asker {
	w.Helper()
	who, err := w.book.ByToken(w.token())
	must(w, err)
	_, token, err := w.book.Add(context.Background(), who, name, roles, []string{tenant})
	must(w, err)
	certificate := w.certificate(token.String())
	return w.remote(certificate)
}

func (w *world) certificate(token string) tls.Certificate {
	w.Helper()
	key, csr := w.csr()
	given, err := w.book.Login(context.Background(), token, csr)
	must(w, err)
	return tls.Certificate{Certificate: [][]byte{given.DER, given.CA}, PrivateKey: key}
}

func (w *world) csr() (*ecdsa.PrivateKey, []byte) {
	w.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(w, err)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	must(w, err)
	return key, csr
}

// said is an answer.
type said struct {
	status int
	header http.Header
	body   []byte
}

func (s said) class() attestd.Class {
	var problem struct {
		Class  attestd.Class `json:"class"`
		Status int           `json:"status"`
		Detail string        `json:"detail"`
		Hint   string        `json:"hint"`
	}
	if err := json.Unmarshal(s.body, &problem); err != nil || problem.Status != s.status || problem.Detail == "" ||
		problem.Hint == "" || s.header.Get("Content-Type") != "application/problem+json" {
		return attestd.Class(fmt.Sprintf("no problem document: %d %.200s", s.status, s.body))
	}
	return problem.Class
}

// ask sends a request; a body that is a string is sent as it is.
func (w *world) ask(as asker, method, path string, body any, change ...func(*http.Request)) said {
	w.Helper()
	var reader io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(body)
	default:
		document, err := json.Marshal(body)
		must(w, err)
		reader = bytes.NewReader(document)
	}
	request, err := http.NewRequestWithContext(context.Background(), method, as.base+path, reader)
	must(w, err)
	if reader != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if as.bearer != "" {
		request.Header.Set("Authorization", "Bearer "+as.bearer)
	}
	for _, one := range change {
		one(request)
	}
	response, err := as.client.Do(request)
	must(w, err)
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	must(w, err)
	return said{response.StatusCode, response.Header, answer}
}

func (w *world) get(as asker, path string) said {
	w.Helper()
	return w.ask(as, http.MethodGet, admin.Prefix+path, nil)
}

func (w *world) post(as asker, path string, body any, change ...func(*http.Request)) said {
	w.Helper()
	return w.ask(as, http.MethodPost, admin.Prefix+path, body, change...)
}

// refused demands a problem of the status and class.
func (w *world) refused(got said, status int, class attestd.Class) {
	w.Helper()
	if got.status != status || got.class() != class {
		w.Errorf("got %d %s, want %d %s: %.300s", got.status, got.class(), status, class, got.body)
	}
}

// read demands an answer that is none of trouble, and reads it.
func (w *world) read(got said, into any) {
	w.Helper()
	if got.status != http.StatusOK {
		w.Fatalf("got %d %s", got.status, got.body)
	}
	must(w, json.Unmarshal(got.body, into))
}

// selfSigned returns a certificate that says what an operator's says.
func selfSigned(t testing.TB, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs: []*url.URL{{Scheme: "attestd", Host: "operator", Path: "/" + name + "/1"}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Secrets that nothing may show.
const (
	canaryDSN   = "postgres://attestd:hunter2-canary@db.internal.example/attestd"
	canaryToken = "attestd-enrol-canary-7f1e"
)
