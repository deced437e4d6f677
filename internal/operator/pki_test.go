package operator_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/operator"
)

// listen serves with the PKI's configuration and answers with the operator's name, or the class of the
// refusal.
func (w *world) listen() net.Addr {
	w.Helper()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	server := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Second,
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			who, err := w.book.ByCertificate(r.Context(), r.TLS)
			if err != nil {
				rw.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, _ = fmt.Fprint(rw, who.Name)
		}),
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(tls.NewListener(plain, w.pki.ServerTLS())) }()
	w.Cleanup(func() { _ = server.Close(); <-done })
	return plain.Addr()
}

// dial asks once and returns the status with what was answered.
func (w *world) dial(address net.Addr, settings *tls.Config) (string, *tls.ConnectionState, error) {
	w.Helper()
	if settings.RootCAs == nil {
		settings.RootCAs = x509.NewCertPool()
		settings.RootCAs.AddCert(parse(w, w.pki.CA()))
	}
	settings.Time = w.clock
	conn, err := tls.Dial("tcp", address.String(), settings)
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: attestd\r\n\r\n"); err != nil {
		return "", nil, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	state := conn.ConnectionState()
	return fmt.Sprint(response.StatusCode, " ", string(body)), &state, err
}

// neg: 164, 165
func TestTheOperatorsListener(t *testing.T) {
	w := newWorld(t)
	alice := w.login(w.add("alice", viewer, "blue"))
	address := w.listen()
	cache := tls.NewLRUClientSessionCache(8)
	own := []tls.Certificate{alice}
	good := &tls.Config{ServerName: operator.ServerName, Certificates: own, ClientSessionCache: cache}
	for range 2 {
		said, state, err := w.dial(address, good)
		if err != nil || said != "200 alice" {
			t.Fatal(said, err)
		}
		if state.DidResume || state.Version != tls.VersionTLS13 {
			t.Fatalf("resumed %t, version %x", state.DidResume, state.Version)
		}
	}
	copied := w.otherCA(parse(t, alice.Certificate[0]))
	served := tls.Certificate{Certificate: [][]byte{copied.Raw}, PrivateKey: alice.PrivateKey}
	stolen := tls.Certificate{Certificate: alice.Certificate, PrivateKey: w.key()}
	rows := []struct {
		name     string
		settings *tls.Config
		want     string // empty where the handshake fails
	}{
		{"a name of the configuration", &tls.Config{ServerName: "ops.example.org", Certificates: own}, "200 alice"},
		{"the address itself, which TLS does not name", &tls.Config{ServerName: "127.0.0.1",
			Certificates: []tls.Certificate{alice}}, "200 alice"},
		{"no certificate", &tls.Config{ServerName: operator.ServerName}, "401 "},
		{"TLS 1.2", &tls.Config{ServerName: operator.ServerName, MaxVersion: tls.VersionTLS12}, ""},
		{"TLS 1.1", &tls.Config{ServerName: operator.ServerName, MinVersion: tls.VersionTLS10,
			MaxVersion: tls.VersionTLS11}, ""},
		{"RSA key exchange", &tls.Config{ServerName: operator.ServerName, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, ""},
		{"another server's name", &tls.Config{ServerName: "other.example.org", InsecureSkipVerify: true}, ""},
		{"a certificate of another CA", &tls.Config{ServerName: operator.ServerName,
			GetClientCertificate: always(served)}, "401 "},
		{"a certificate without its key", &tls.Config{ServerName: operator.ServerName,
			GetClientCertificate: always(stolen)}, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			said, _, err := w.dial(address, row.settings)
			if said != row.want || (row.want == "") != (err != nil) {
				t.Errorf("got %q, %v; want %q", said, err, row.want)
			}
		})
	}
	t.Run("plain text on the port", func(t *testing.T) {
		response, err := http.Get("http://" + address.String() + "/")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode != http.StatusBadRequest {
				t.Errorf("answered in the clear with %d", response.StatusCode)
			}
		}
		http.DefaultClient.CloseIdleConnections()
	})
}

func always(certificate tls.Certificate) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
}

// noName is a connection that came to an address.
type noName struct {
	net.Conn
	local net.Addr
}

func (c noName) LocalAddr() net.Addr { return c.local }

// neg: 165
func TestWhoAsksForNoNameMustHaveDialledAnAddressOfOurs(t *testing.T) {
	get := newWorld(t).pki.ServerTLS().GetCertificate
	for address, want := range map[string]bool{"10.1.2.3": true, "127.0.0.1": true, "::1": true, "10.1.2.4": false} {
		_, err := get(&tls.ClientHelloInfo{Conn: noName{local: &net.TCPAddr{IP: net.ParseIP(address)}}})
		if (err == nil) != want {
			t.Errorf("no name to %s: %v", address, err)
		}
	}
	for name, want := range map[string]bool{
		"attestd": true, "localhost": true, "ops.example.org": true, "ops.example.org.": false, "attestd.": false,
		"OPS.example.org": false, "x.ops.example.org": false, "10.1.2.4": false,
	} {
		if _, err := get(&tls.ClientHelloInfo{ServerName: name}); (err == nil) != want {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if _, err := get(&tls.ClientHelloInfo{}); err == nil {
		t.Error("no name and no connection is served")
	}
}

func TestTheServersCertificateRenewsItself(t *testing.T) {
	w := newWorld(t)
	alice := w.login(w.add("alice", viewer, "blue"))
	address := w.listen()
	ask := func() *x509.Certificate {
		t.Helper()
		_, state, err := w.dial(address, &tls.Config{
			ServerName: operator.ServerName, Certificates: []tls.Certificate{alice},
		})
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0]
	}
	first := ask()
	w.advance(14 * 24 * time.Hour)
	if !ask().Equal(first) {
		t.Error("renewed before half of its life")
	}
	w.advance(2 * 24 * time.Hour)
	second := ask()
	if second.Equal(first) || !second.NotAfter.After(first.NotAfter) {
		t.Error("not renewed after half of its life")
	}
	ca, server := w.pki.Ends()
	if !server.Equal(second.NotAfter) || ca.Sub(w.clock()) < 9*365*24*time.Hour {
		t.Errorf("ends %s, %s", ca, server)
	}
}

func TestThePKIOutlivesItsProcess(t *testing.T) {
	w := newWorld(t)
	folder := filepath.Join(w.folder, "pki")
	leaf := parse(t, w.login(w.add("alice", viewer, "blue")).Certificate[0])
	reopened, err := operator.OpenPKI(folder, nil, w.clock)
	if err != nil || reopened.Pin() != w.pki.Pin() {
		t.Fatal("another CA after a restart", err)
	}
	if err := leaf.CheckSignatureFrom(parse(t, reopened.CA())); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"ca.key", "ca.pem"} {
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestAPKIThatCannotBeTrustedDoesNotOpen(t *testing.T) {
	other := filepath.Join(newWorld(t).folder, "pki")
	read := func(folder, name string) []byte {
		content, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	put := func(name string, content []byte) func(*world, string) {
		return func(w *world, folder string) {
			if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
				w.Fatal(err)
			}
		}
	}
	for name, spoil := range map[string]func(w *world, folder string){
		"a key that others can read": func(_ *world, folder string) { mode(t, filepath.Join(folder, "ca.key"), 0o644) },
		"a certificate of another":   put("ca.pem", read(other, "ca.pem")),
		"a key of another":           put("ca.key", read(other, "ca.key")),
		"an empty key":               put("ca.key", nil),
		"two certificates":           put("ca.pem", append(read(other, "ca.pem"), read(other, "ca.pem")...)),
		"a key for a certificate":    put("ca.pem", read(other, "ca.key")),
		"a CA that has ended":        func(w *world, _ string) { w.advance(11 * 365 * 24 * time.Hour) },
		"a clock from before the CA": func(w *world, _ string) { w.advance(-time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.TB = t
			folder := filepath.Join(w.folder, "pki")
			spoil(w, folder)
			_, err := operator.OpenPKI(folder, nil, w.clock)
			w.refused(err, attestd.ClassConfig, w.folder, strings.TrimSpace(string(read(other, "ca.key")))[40:80])
		})
	}
}

func TestABookIsWhole(t *testing.T) {
	w := newWorld(t)
	whole := operator.Config{
		Store: w.store, PKI: w.pki, Now: w.clock, TokenPath: "x", CertificateLifetime: life, LoginLifetime: loginLife,
		Rand: strings.NewReader(""),
	}
	for name, spoil := range map[string]func(*operator.Config){
		"no store": func(c *operator.Config) { c.Store = nil }, "no PKI": func(c *operator.Config) { c.PKI = nil },
		"no clock": func(c *operator.Config) { c.Now = nil }, "no token": func(c *operator.Config) { c.TokenPath = "" },
		"no source of secrets":               func(c *operator.Config) { c.Rand = nil },
		"certificates for more than 30 days": func(c *operator.Config) { c.CertificateLifetime = 31 * 24 * time.Hour },
		"certificates for no time":           func(c *operator.Config) { c.CertificateLifetime = 0 },
		"login tokens for a day":             func(c *operator.Config) { c.LoginLifetime = 24 * time.Hour },
	} {
		spoiled := whole
		spoil(&spoiled)
		if _, err := operator.NewBook(spoiled); err == nil {
			t.Errorf("%s: a book was made", name)
		}
	}
	book, err := operator.NewBook(whole)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := book.Add(t.Context(), w.bootstrap(), "x", viewer, []string{"blue"}); err == nil {
		t.Error("a login token was made without a source of secrets")
	}
}
