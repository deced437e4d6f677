package authn_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/attestd/attestd/internal/authn"
)

var td = spiffeid.RequireTrustDomainFromString(domain)

func write(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bundle")
	must(t, os.WriteFile(path, content, 0o600))
	return path
}

func marshalled(t *testing.T, bundle *spiffebundle.Bundle) []byte {
	t.Helper()
	document, err := bundle.Marshal()
	must(t, err)
	return document
}

// TestBundlesOfFiles: SPIFFE's form has both kinds of keys, PEM certificates alone, and anything else none.
func TestBundlesOfFiles(t *testing.T) {
	w := newWorld(t, nil)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.ca.Raw})
	for name, row := range map[string]struct {
		content    []byte
		x509, jwts int
		fails      bool
	}{
		"SPIFFE's form": {marshalled(t, w.bundle(domain)), 1, 1, false},
		"PEM":           {certificate, 1, 0, false},
		"no PEM":        {[]byte("-----BEGIN CERTIFICATE-----\n"), 0, 0, true},
		"a key":         {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}), 0, 0, true},
		"something":     {[]byte("{"), 0, 0, true},
		"too much":      {make([]byte, 1<<20+1), 0, 0, true},
	} {
		source, err := authn.ParseSource(td, "file:"+write(t, row.content), "")
		must(t, err)
		got, err := source.Fetch(t.Context())
		if (err != nil) != row.fails {
			t.Errorf("%s: %v", name, err)
		} else if err == nil && (len(got.X509Authorities()) != row.x509 || len(got.JWTAuthorities()) != row.jwts) {
			t.Errorf("%s: %d and %d keys", name, len(got.X509Authorities()), len(got.JWTAuthorities()))
		}
	}
	source, err := authn.ParseSource(td, "file:"+t.TempDir(), "")
	must(t, err)
	if _, err := source.Fetch(t.Context()); err == nil {
		t.Error("a folder is a bundle")
	}
}

// TestSourcesThatAreNone: what could be fetched in the clear, or from anywhere, is refused.
func TestSourcesThatAreNone(t *testing.T) {
	for _, text := range []string{
		"", "file", "file:bundle.json", "workload:tcp:127.0.0.1:1", "workload:unix:relative", "https_web:http://x/",
		"https_web:https://user@x/", "https_web:", "https_spiffe:spiffe://example.org/s,http://x/",
		"https_spiffe:example.org,https://x/", "https_spiffe:spiffe://example.org/s,https://x/", "ftp:x",
	} {
		if _, err := authn.ParseSource(td, text, ""); err == nil {
			t.Errorf("%q is a source", text)
		}
	}
}

// served answers with a bundle over TLS with whatever certificate is in force.
func served(
	t *testing.T, document func() []byte, shows func() tls.Certificate,
) (address string) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(document())
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	// Not StartTLS: it has a certificate of its own, which it prefers where no name is asked for.
	server.Listener = tls.NewListener(server.Listener, &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			one := shows()
			return &one, nil
		},
	})
	server.Start()
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "http:", "https:", 1)
}

// TestAnEndpointIsKnownByItsSVID: it is first asked with the bundle of the configuration and then with the
// newest, so that its authority can change; who shows another's SVID, or another authority's, is not believed.
func TestAnEndpointIsKnownByItsSVID(t *testing.T) {
	w := newWorld(t, nil)
	type authority struct {
		certificate *x509.Certificate
		key         *ecdsa.PrivateKey
	}
	root := func() authority {
		one := key(t, elliptic.P256())
		return authority{w.certificate(one.Public(), one, nil, func(c *x509.Certificate) {
			c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
			c.URIs = []*url.URL{{Scheme: "spiffe", Host: domain}}
			c.NotBefore, c.NotAfter = wide()
		}), one}
	}
	svid := func(of authority, path string) tls.Certificate {
		own := key(t, elliptic.P256())
		leaf := w.certificate(own.Public(), of.key, of.certificate, func(c *x509.Certificate) {
			c.URIs = []*url.URL{{Scheme: "spiffe", Host: domain, Path: path}}
			c.NotBefore, c.NotAfter = wide()
		})
		return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: own}
	}
	first, second, foreign := root(), root(), root()
	both := spiffebundle.FromX509Authorities(td, []*x509.Certificate{first.certificate, second.certificate})
	both.SetSequenceNumber(2)
	var shows atomic.Pointer[tls.Certificate]
	show := func(one tls.Certificate) { shows.Store(&one) }
	address := served(t, func() []byte { return marshalled(t, both) }, func() tls.Certificate { return *shows.Load() })
	bootstrap := write(t, marshalled(t, spiffebundle.FromX509Authorities(td, []*x509.Certificate{first.certificate})))
	source, err := authn.ParseSource(td, "https_spiffe:spiffe://"+domain+"/spire/server,"+address, bootstrap)
	must(t, err)

	for name, one := range map[string]tls.Certificate{
		"another's SVID":      svid(first, "/agent/rag"),
		"another authority's": svid(foreign, "/spire/server"),
		"one not known yet":   svid(second, "/spire/server"),
	} {
		show(one)
		if got, err := source.Fetch(t.Context()); err == nil {
			t.Errorf("%s: believed, %d authorities", name, len(got.X509Authorities()))
		}
	}
	show(svid(first, "/spire/server"))
	got, err := source.Fetch(t.Context())
	must(t, err)
	if number, _ := got.SequenceNumber(); number != 2 || len(got.X509Authorities()) != 2 {
		t.Errorf("number %d with %d authorities", number, len(got.X509Authorities()))
	}
	show(svid(second, "/spire/server"))
	if _, err := source.Fetch(t.Context()); err != nil {
		t.Errorf("after the authority changed: %v", err)
	}
}

// TestAnEndpointOfTheWeb is known by its name and the web's authorities.
func TestAnEndpointOfTheWeb(t *testing.T) {
	w := newWorld(t, nil)
	own := key(t, elliptic.P256())
	root := w.certificate(own.Public(), own, nil, func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.URIs, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil, nil
		c.NotBefore, c.NotAfter = wide()
	})
	leafKey := key(t, elliptic.P256())
	leaf := w.certificate(leafKey.Public(), own, root, func(c *x509.Certificate) {
		c.URIs, c.IPAddresses = nil, []net.IP{net.IPv4(127, 0, 0, 1)}
		c.NotBefore, c.NotAfter = wide()
	})
	document := marshalled(t, w.bundle(domain))
	address := served(t, func() []byte { return document }, func() tls.Certificate {
		return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: leafKey}
	})
	roots := x509.NewCertPool()
	roots.AddCert(root)
	if got, err := authn.WebSource(td, address, roots).Fetch(t.Context()); err != nil || len(got.JWTAuthorities()) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
	for name, source := range map[string]authn.Source{
		"no root of it":  authn.WebSource(td, address, x509.NewCertPool()),
		"another's name": authn.WebSource(td, strings.Replace(address, "127.0.0.1", "localhost", 1), roots),
	} {
		if _, err := source.Fetch(t.Context()); err == nil {
			t.Errorf("%s: believed", name)
		}
	}
	known, err := authn.ParseSource(td, "https_web:"+address, "")
	must(t, err)
	if _, err := known.Fetch(t.Context()); err == nil {
		t.Error("the machine's roots believe a test")
	}
}
