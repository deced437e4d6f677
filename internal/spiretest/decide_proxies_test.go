package spiretest_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/nhi"
)

// narrow may call no tool.
var narrow = func() caller {
	out := worker("narrow", tenant, nhi.PurposeRetrieval)
	out.record.Tools = nil
	return out
}()

// behind is what stands behind proxies: a server that keeps the headers that came.
type behind struct {
	address string
	came    chan http.Header
}

func newBehind(t *testing.T) behind {
	t.Helper()
	out := behind{came: make(chan http.Header, 64)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out.came <- r.Header.Clone()
		_, _ = io.WriteString(w, "the upstream")
	}))
	t.Cleanup(server.Close)
	out.address = strings.TrimPrefix(server.URL, "http://")
	return out
}

// seen returns the headers of all requests since it was asked last.
func (b behind) seen() (all []http.Header) {
	for {
		select {
		case one := <-b.came:
			all = append(all, one)
		default:
			return all
		}
	}
}

// shipped is a configuration of docs/deploy, with what an operator changes in it.
func shipped(t *testing.T, path string, pairs ...string) string {
	t.Helper()
	document, err := os.ReadFile(filepath.Join(made.root, "docs", "deploy", path))
	if err != nil {
		t.Fatal(err)
	}
	return replaced(t, string(document), pairs...)
}

func replaced(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for pair := range slices.Chunk(pairs, 2) {
		if !strings.Contains(text, pair[0]) {
			t.Fatalf("the configuration has no %q", pair[0])
		}
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	return text
}

// proxied is a proxy that runs, as its clients reach it.
type proxied struct {
	name, address string
	tls           *tls.Config // nil where tokens are shown
}

// listens starts a proxy and waits until it takes connections.
func listens(t *testing.T, address, name string, words ...string) {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: .ci/install nginx caddy installs what is needed", err)
	}
	launch(t, name, program, words...).ready(t, func() error {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

// nginx starts the shipped configuration, and beside it the same with certificates for credentials:
// nginx ends TLS, and vouches for what it verified.
func (s *decideSite) nginx(t *testing.T, upstream string) (byToken, byCertificate proxied) {
	t.Helper()
	folder := t.TempDir()
	byToken = proxied{name: "nginx", address: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	byCertificate = proxied{
		name: "nginx with mTLS", address: fmt.Sprintf("127.0.0.1:%d", freePort(t)),
		tls: &tls.Config{RootCAs: s.server.pool, MinVersion: tls.VersionTLS12},
	}
	// A machine with much else to do is not what is tested.
	site := shipped(t, "nginx/attestd.conf", "/run/attestd/decide.sock", s.decisions(), "127.0.0.1:9000",
		upstream, "tenant=acme", "tenant="+tenant, "300ms", "5s")
	at := strings.Index(site, "\nserver {")
	if at < 0 {
		t.Fatal("the shipped configuration of nginx has no server")
	}
	const asks = "&source_header=X-Real-Ip"
	mutual := replaced(t, site[at:], "listen 127.0.0.1:8080;", fmt.Sprintf("listen %s ssl;\n"+
		"ssl_certificate %s;\nssl_certificate_key %s;\nssl_client_certificate %s;\nssl_verify_client on;",
		byCertificate.address, s.server.certificate, s.server.key, s.spire.bundleFile()),
		asks+";", asks+"&credential=certificate&certificate_header=X-Client-Cert;\n"+
			"proxy_set_header X-Client-Cert $ssl_client_escaped_cert;")
	site = replaced(t, site, "127.0.0.1:8080", byToken.address)
	// Its workers are those of the user that attestd knows as an enforcement point.
	document := fmt.Sprintf("user root root;\ndaemon off;\nmaster_process off;\npid %s/pid;\n"+
		"error_log stderr;\nevents {}\nhttp {\naccess_log off;\nclient_body_temp_path %s/b;\n"+
		"proxy_temp_path %s/p;\nfastcgi_temp_path %s/f;\nuwsgi_temp_path %s/u;\nscgi_temp_path %s/s;\n%s%s}\n",
		folder, folder, folder, folder, folder, folder, site, mutual)
	path := filepath.Join(folder, "nginx.conf")
	write(t, path, []byte(document))
	listens(t, byToken.address, "nginx", "-p", folder, "-c", path)
	return byToken, byCertificate
}

// caddy starts the shipped configuration.
func (s *decideSite) caddy(t *testing.T, upstream string) proxied {
	t.Helper()
	folder, out := t.TempDir(), proxied{name: "Caddy", address: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	path := filepath.Join(folder, "Caddyfile")
	write(t, path, []byte("{\n\tadmin off\n\tauto_https off\n}\n"+shipped(t, "caddy/Caddyfile",
		"unix//run/attestd/decide.sock", "unix/"+s.decisions(), "127.0.0.1:9000", upstream,
		"127.0.0.1:8081", out.address, "tenant=acme", "tenant="+tenant, "300ms", "5s")))
	// It keeps what it was told last below the user's folders.
	listens(t, out.address, "env", "HOME="+folder, "XDG_DATA_HOME="+folder, "XDG_CONFIG_HOME="+folder, "caddy",
		"run", "--adapter", "caddyfile", "--config", path)
	return out
}

// answered is what a proxy's client got.
type answered struct {
	status       int
	reason, body string
}

// get sends a request that says of itself whatever a client can say; it shows the SVID of the caller
// as the proxy wants it, nothing where there is no caller.
func (p proxied) get(t *testing.T, token string, svid *tls.Certificate) answered {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	scheme := "http"
	if p.tls != nil {
		scheme, transport.TLSClientConfig = "https", p.tls.Clone()
		if svid != nil {
			transport.TLSClientConfig.Certificates = []tls.Certificate{*svid}
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		scheme+"://"+p.address+"/search/items?q=x", strings.NewReader("a body"))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	for _, name := range []string{
		"X-Attestd-Subject", "X-Attestd-Tenant", "X-Attestd-Risk-Tier", "X-Attestd-Decision-Id",
		"X-Attestd-Enforcer", "X-Attestd-Reason", "X-Client-Cert", "X-Real-Ip",
	} {
		request.Header.Set(name, "forged")
	}
	for _, name := range []string{"X-Original-Uri", "X-Forwarded-Uri"} {
		request.Header.Set(name, "/public")
	}
	answer, err := (&http.Client{Transport: transport, Timeout: 15 * time.Second}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{answer.StatusCode, answer.Header.Get("X-Attestd-Reason"), string(body)}
}

// as sends a request as whoever has both SVIDs: it shows the one that the proxy wants.
func (p proxied) as(t *testing.T, token string, svid *tls.Certificate) answered {
	t.Helper()
	if p.tls != nil {
		return p.get(t, "", svid)
	}
	return p.get(t, token, nil)
}

// proxies wants nginx and Caddy to let through what attestd allows, under the caller's own name, and
// nothing else.
func (s *decideSite) proxies(t *testing.T) {
	upstream := newBehind(t)
	byToken, byCertificate := s.nginx(t, upstream.address)
	all := []proxied{byToken, byCertificate, s.caddy(t, upstream.address)}
	token := s.token(t, tenant, browsing.id())
	svid, poor := tlsOf(s.x509(t, tenant, browsing.id())), tlsOf(s.x509(t, tenant, narrow.id()))
	outside := tlsOf(s.x509(t, "", id(plainWorkload)))
	for _, p := range all {
		if got := p.as(t, token, &svid); got.status != http.StatusOK || got.body != "the upstream" {
			t.Fatalf("%s: an allow is %+v", p.name, got)
		}
		came := upstream.seen()
		if len(came) != 1 || came[0].Get("X-Attestd-Subject") != browsing.id() ||
			came[0].Get("X-Attestd-Tenant") != tenant || came[0].Get("X-Attestd-Risk-Tier") != "low" ||
			came[0].Get("Authorization") != "" {
			t.Fatalf("%s: the upstream got %v", p.name, came)
		}
		for name, values := range came[0] {
			if strings.HasPrefix(name, "X-Attestd-") && slices.Contains(values, "forged") {
				t.Errorf("%s: the upstream got what the client said of itself: %s", p.name, name)
			}
		}
		record := s.recorded(t, came[0].Get("X-Attestd-Decision-Id"))
		method := map[bool]string{false: decision.MethodJWT, true: decision.MethodX509}[p.tls != nil]
		if string(record.Subject) != browsing.id() || record.Input.Who.Method != method ||
			record.Input.Via != decision.ViaForward || record.Input.Source.String() != "127.0.0.1" {
			t.Errorf("%s: the record says %s by %s from %s", p.name, record.Subject, record.Input.Who.Method,
				record.Input.Source)
		}
		for name, row := range map[string]struct {
			got    answered
			status int
			code   decision.Code
		}{
			"a tool out of reach": {
				p.as(t, s.token(t, tenant, narrow.id()), &poor), http.StatusForbidden, decision.CodeBlastRadius,
			},
			"an unattested caller": {
				p.as(t, s.token(t, "", id(plainWorkload)), &outside), http.StatusForbidden, decision.CodeNotAttested,
			},
		} {
			if row.got.status != row.status || row.got.reason != string(row.code) {
				t.Errorf("%s: %s is answered %+v", p.name, name, row.got)
			}
		}
		// nginx itself refuses who shows no certificate, before anybody is asked (400).
		want := map[bool]int{false: http.StatusUnauthorized, true: http.StatusBadRequest}[p.tls != nil]
		if got := p.as(t, "", nil); got.status != want {
			t.Errorf("%s: who shows nothing is answered %+v", p.name, got)
		}
		if came := upstream.seen(); len(came) != 0 {
			t.Errorf("%s: the upstream got %d requests that were not allowed", p.name, len(came))
		}
	}
	order := wire.Order{Target: browsing.id(), Tenant: tenant, Reason: "drill"}
	if _, err := s.ann.Quarantine(t.Context(), order); err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		got := p.as(t, token, &svid)
		if got.status != http.StatusForbidden || got.reason != string(decision.CodeQuarantined) {
			t.Errorf("%s: a quarantined caller is answered %+v", p.name, got)
		}
	}
	if came := upstream.seen(); len(came) != 0 {
		t.Errorf("the upstream got %d requests of a quarantined caller", len(came))
	}
	// Another person lets it go, by a ticket: a name has no boot that could show a rebirth.
	order.Reimaged, order.Tenant = "CHG-4471", ""
	if _, err := s.ann.Release(t.Context(), order); err == nil {
		t.Error("whoever held a caller releases it")
	}
	if _, err := s.bob.Release(t.Context(), order); err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if got := p.as(t, token, &svid); got.status != http.StatusOK {
			t.Errorf("%s: a released caller is answered %+v", p.name, got)
		}
	}
}
