package daemon_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/config"
)

// authority issues certificates for tests.
type authority struct {
	testing.TB
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{TB: t}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	a.certificate, a.key = a.issue(template, template)
	return a
}

func (a *authority) issue(template, parent *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	signer := a.key
	if signer == nil {
		signer = key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		a.Fatal(err)
	}
	return certificate, key
}

func (a *authority) leaf(usage x509.ExtKeyUsage, end time.Time) tls.Certificate {
	a.Helper()
	certificate, key := a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "leaf"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: end,
	}, a.certificate)
	return tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}
}

func (a *authority) write(folder string) (certificate, key, ca string) {
	a.Helper()
	leaf := a.leaf(x509.ExtKeyUsageServerAuth, time.Now().Add(time.Hour))
	der, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		a.Fatal(err)
	}
	paths := make([]string, 0, 3)
	for name, block := range map[string]*pem.Block{
		"1.pem": {Type: "CERTIFICATE", Bytes: leaf.Certificate[0]},
		"2.pem": {Type: "PRIVATE KEY", Bytes: der},
		"3.pem": {Type: "CERTIFICATE", Bytes: a.certificate.Raw},
	} {
		if err := os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(block), 0o600); err != nil {
			a.Fatal(err)
		}
	}
	for _, name := range []string{"1.pem", "2.pem", "3.pem"} {
		paths = append(paths, filepath.Join(folder, name))
	}
	return paths[0], paths[1], paths[2]
}

// secured starts a daemon that demands client certificates of one authority.
func secured(t *testing.T) (*running, *authority) {
	t.Helper()
	ca := newAuthority(t)
	settings := settingsIn(t)
	tls := &settings.Listen.TLS
	tls.Certificate, tls.Key, tls.ClientCA = ca.write(settings.StateDir)
	return start(t, settings), ca
}

func (a *authority) client(change func(*tls.Config)) *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	settings := &tls.Config{
		RootCAs: pool, ClientSessionCache: tls.NewLRUClientSessionCache(4), NextProtos: []string{"h2", "http/1.1"},
		Certificates: []tls.Certificate{a.leaf(x509.ExtKeyUsageClientAuth, time.Now().Add(time.Hour))},
	}
	if change != nil {
		change(settings)
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: settings, DisableKeepAlives: true,
	}}
}

// neg: 164, 165
func TestOnlyClientsWithACertificateOfTheNamedCAAreServed(t *testing.T) {
	r, ca := secured(t)
	if !strings.HasPrefix(r.URL, "https://") {
		t.Fatalf("serves %s", r.URL)
	}
	other := newAuthority(t)
	soon := time.Now().Add(time.Hour)
	for name, row := range map[string]struct {
		change func(*tls.Config)
		served bool
	}{
		"a client of the CA": {nil, true},
		"TLS 1.2":            {func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, true},
		"TLS 1.1":            {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, false},
		"no certificate":     {func(c *tls.Config) { c.Certificates = nil }, false},
		"a CA nobody named":  {func(c *tls.Config) { c.Certificates[0] = other.leaf(x509.ExtKeyUsageClientAuth, soon) }, false},
		"an expired one": {func(c *tls.Config) {
			c.Certificates[0] = ca.leaf(x509.ExtKeyUsageClientAuth, time.Now().Add(-time.Minute))
		}, false},
		"a server certificate": {func(c *tls.Config) { c.Certificates[0] = ca.leaf(x509.ExtKeyUsageServerAuth, soon) }, false},
		"RSA key exchange": {func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			response, err := ca.client(row.change).Get(r.URL + "/healthz")
			if err == nil {
				_ = response.Body.Close()
			}
			if served := err == nil && response.StatusCode == 200; served != row.served {
				t.Errorf("served %t (%v), want %t", served, err, row.served)
			}
		})
	}
}

// neg: 164
func TestASessionIsNotResumedAndHTTP2IsNotSpoken(t *testing.T) {
	r, ca := secured(t)
	client := ca.client(nil)
	for range 2 {
		response, err := client.Get(r.URL + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if response.TLS.DidResume || response.ProtoMajor != 1 {
			t.Errorf("resumed %t, HTTP/%d; want a new session and HTTP/1", response.TLS.DidResume, response.ProtoMajor)
		}
	}
}

// neg: 165
func TestPlaintextOnATLSPortIsRefused(t *testing.T) {
	r, _ := secured(t)
	response, err := plainClient.Get(strings.Replace(r.URL, "https", "http", 1) + "/healthz")
	if err != nil {
		return // the connection was closed
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("got %d, want 400 or a closed connection", response.StatusCode)
	}
}

func TestATLSKeyThatOthersCanReadIsRefused(t *testing.T) {
	ca := newAuthority(t)
	settings := settingsIn(t)
	certificate, key, _ := ca.write(settings.StateDir)
	settings.Listen.TLS = config.TLS{Certificate: certificate, Key: key}
	if err := os.Chmod(key, 0o644); err != nil { //nolint:gosec // the point of the test
		t.Fatal(err)
	}
	if err := runBriefly(t, settings); err == nil || !strings.Contains(err.Error(), "0600") {
		t.Errorf("got %v, want a refusal that names the mode", err)
	}
}
