package operator_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/operator"
)

var viewer = []operator.Role{operator.Viewer}

func TestZeroPrincipalMayNothing(t *testing.T) {
	var nobody operator.Principal
	for _, role := range append(operator.Roles(), "") {
		for _, tenant := range []string{"", "*", "blue"} {
			if nobody.May(role, tenant) || nobody.Has(role) {
				t.Errorf("nobody may %q for %q", role, tenant)
			}
		}
	}
	if (operator.Principal{Name: "x", Roles: operator.Roles()}).May(operator.Viewer, "") {
		t.Error("whoever has no tenant may act for the empty one")
	}
}

// neg: 164
func TestBootstrapToken(t *testing.T) {
	w := newWorld(t)
	if who := w.bootstrap(); !who.May(operator.Security, "*") || who.Has(operator.Issuer) ||
		who.Name != operator.BootstrapName || who.Via != operator.ViaToken {
		t.Fatalf("the bootstrap token is %+v", who)
	}
	good := w.token()
	for name, token := range map[string]string{
		"an empty token": "", "another token": strings.Repeat("A", len(good)), "the token cut": good[:len(good)-1],
		"the token with a letter more": good + "A", "the token in capitals": strings.ToUpper(good),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.book.ByToken(token)
			(&world{TB: t}).refused(err, attestd.ClassUnauthenticated, good)
		})
	}
	t.Run("a second start keeps the token", func(t *testing.T) {
		if err := operator.OpenToken(w.tokenPath(), rand.Reader); err != nil || w.token() != good {
			t.Fatal(err, w.token() == good)
		}
	})
	t.Run("a file that others can read is refused at the next request", func(t *testing.T) {
		mode(t, w.tokenPath(), 0o640)
		defer mode(t, w.tokenPath(), 0o600)
		_, err := w.book.ByToken(good)
		(&world{TB: t}).refused(err, attestd.ClassConfig, good, w.folder)
		(&world{TB: t}).refused(operator.OpenToken(w.tokenPath(), rand.Reader), attestd.ClassConfig)
	})
	t.Run("a link to a file is refused", func(t *testing.T) {
		link := w.tokenPath() + ".link"
		if err := os.Symlink(w.tokenPath(), link); err != nil {
			t.Fatal(err)
		}
		if err := operator.OpenToken(link, rand.Reader); err == nil {
			t.Fatal("a link was followed")
		}
	})
	t.Run("a file that holds no token is refused", func(t *testing.T) {
		if err := os.WriteFile(w.tokenPath(), []byte("\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := w.book.ByToken("")
		(&world{TB: t}).refused(err, attestd.ClassConfig)
	})
	t.Run("removing the file ends the token at the next request", func(t *testing.T) {
		if err := os.Remove(w.tokenPath()); err != nil {
			t.Fatal(err)
		}
		_, err := w.book.ByToken(good)
		(&world{TB: t}).refused(err, attestd.ClassUnauthenticated, good)
	})
}

func mode(t *testing.T, path string, to os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, to); err != nil {
		t.Fatal(err)
	}
}

// neg: 164, 165
func TestCertificatesThatAreNobodys(t *testing.T) {
	w := newWorld(t)
	good := parse(t, w.login(w.add("alice", []operator.Role{operator.Security}, "blue")).Certificate[0])
	who, err := w.book.ByCertificate(t.Context(), shows(good))
	if err != nil || who.Name != "alice" || !who.May(operator.Security, "blue") || who.Sees("green") ||
		who.Via != operator.ViaCertificate {
		t.Fatalf("a good certificate is %+v, %v", who, err)
	}
	usage := func(usages ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = usages }
	}
	uris := func(texts ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.URIs = nil
			for _, text := range texts {
				parsed, err := url.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				c.URIs = append(c.URIs, parsed)
			}
		}
	}
	same := w.forge(func(*x509.Certificate) {})
	if _, err := w.book.ByCertificate(t.Context(), shows(same)); err != nil {
		t.Fatalf("the rows below would be refused in any case: %v", err)
	}
	rows := []struct {
		name  string
		state *tls.ConnectionState
	}{
		{"no connection", nil},
		{"a connection without a certificate", &tls.ConnectionState{Version: tls.VersionTLS13}},
		{"TLS 1.2", &tls.ConnectionState{Version: tls.VersionTLS12, PeerCertificates: []*x509.Certificate{good}}},
		{"a resumed session", &tls.ConnectionState{
			Version: tls.VersionTLS13, PeerCertificates: []*x509.Certificate{good}, DidResume: true,
		}},
		{"a certificate of another CA of the same name", shows(w.otherCA(good))},
		{"a certificate of the CA itself", shows(parse(t, w.pki.CA()))},
		{"the extended key usage of servers alone", shows(w.forge(usage(x509.ExtKeyUsageServerAuth)))},
		{"no extended key usage", shows(w.forge(usage()))},
		{"any extended key usage", shows(w.forge(usage(x509.ExtKeyUsageAny)))},
		{"clients and servers", shows(w.forge(usage(x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth)))},
		{"not yet in force", shows(w.forge(func(c *x509.Certificate) { c.NotBefore = w.clock().Add(time.Second) }))},
		{"over", shows(w.forge(func(c *x509.Certificate) { c.NotAfter = w.clock().Add(-time.Second) }))},
		{"a CA", shows(w.forge(func(c *x509.Certificate) { c.IsCA = true }))},
		{"no name", shows(w.forge(uris()))},
		{"two names", shows(w.forge(uris("attestd://operator/mallory/1", "attestd://operator/alice/1")))},
		{"a name that is not the subject's", shows(w.forge(uris("attestd://operator/alice/1")))},
		{"a SPIFFE ID for a name", shows(w.forge(uris("spiffe://example.org/mallory")))},
		{"another version", shows(w.forge(uris("attestd://operator/mallory/2")))},
		{"a version with a zero before it", shows(w.forge(uris("attestd://operator/mallory/01")))},
		{"a path that goes on", shows(w.forge(uris("attestd://operator/mallory/1/2")))},
		{"a DNS name as well", shows(w.forge(func(c *x509.Certificate) { c.DNSNames = []string{"attestd"} }))},
		{"an operator who was never named", shows(w.forge(func(c *x509.Certificate) {
			c.Subject = pkix.Name{CommonName: "eve"}
			uris("attestd://operator/eve/1")(c)
		}))},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			who, err := w.book.ByCertificate(t.Context(), row.state)
			(&world{TB: t}).refused(err, attestd.ClassUnauthenticated)
			if who.Name != "" || len(who.Roles) != 0 {
				t.Errorf("a refused certificate is still %+v", who)
			}
		})
	}
}

func TestACertificateEndsWithItsTime(t *testing.T) {
	w := newWorld(t)
	leaf := parse(t, w.login(w.add("alice", viewer, "blue")).Certificate[0])
	if got := leaf.NotAfter.Sub(w.clock()); got != life {
		t.Fatalf("the certificate lives %s, want %s", got, life)
	}
	w.advance(life)
	if _, err := w.book.ByCertificate(t.Context(), shows(leaf)); err != nil {
		t.Fatalf("refused before its end: %v", err)
	}
	w.advance(time.Second)
	_, err := w.book.ByCertificate(t.Context(), shows(leaf))
	w.refused(err, attestd.ClassUnauthenticated)
}

func TestARevocationHoldsFromTheNextRequestOn(t *testing.T) {
	w := newWorld(t)
	leaf := parse(t, w.login(w.add("alice", viewer, "blue")).Certificate[0])
	waiting := w.add("alice", viewer, "blue") // a login token that is outstanding
	if _, err := w.book.Revoke(t.Context(), w.bootstrap(), "alice"); err != nil {
		t.Fatal(err)
	}
	_, err := w.book.ByCertificate(t.Context(), shows(leaf))
	w.refused(err, attestd.ClassUnauthenticated)
	_, err = w.book.Login(t.Context(), waiting, w.csr(w.key()))
	w.refused(err, attestd.ClassUnauthenticated, waiting)
	_, err = w.book.Revoke(t.Context(), w.bootstrap(), "alice")
	w.refused(err, attestd.ClassConflict)

	again := parse(t, w.login(w.add("alice", viewer, "blue")).Certificate[0])
	if _, err := w.book.ByCertificate(t.Context(), shows(again)); err != nil {
		t.Fatalf("the new certificate of a name that was given again: %v", err)
	}
	_, err = w.book.ByCertificate(t.Context(), shows(leaf))
	w.refused(err, attestd.ClassUnauthenticated)
}

func TestAStoreThatIsDownRecognizesNobody(t *testing.T) {
	w := newWorld(t)
	token := w.add("bob", viewer, "blue")
	leaf := parse(t, w.login(w.add("alice", viewer, "blue")).Certificate[0])
	w.store.down = &attestd.UndecidedError{Class: attestd.ClassStoreUnavailable}
	if who, err := w.book.ByCertificate(t.Context(), shows(leaf)); !errors.Is(err, w.store.down) || who.Name != "" {
		t.Errorf("got %+v, %v", who, err)
	}
	given, err := w.book.Login(t.Context(), token, w.csr(w.key()))
	if !errors.Is(err, w.store.down) || given.DER != nil {
		t.Errorf("got %+v, %v", given, err)
	}
}

// neg: 182
func TestALoginTokenIsGoodOnce(t *testing.T) {
	w := newWorld(t)
	token := w.add("alice", viewer, "blue")
	var given atomic.Int64
	var wait sync.WaitGroup
	for range 64 {
		csr := w.csr(w.key())
		wait.Go(func() {
			if _, err := w.book.Login(context.Background(), token, csr); err == nil {
				given.Add(1)
			}
		})
	}
	wait.Wait()
	if given.Load() != 1 {
		t.Fatalf("64 at once with one token got %d certificates", given.Load())
	}
	_, err := w.book.Login(t.Context(), token, w.csr(w.key()))
	w.refused(err, attestd.ClassUnauthenticated, token)
}

func TestLoginTokens(t *testing.T) {
	w := newWorld(t)
	token := w.add("alice", viewer, "blue")
	other := w.add("bob", viewer, "blue")
	parsed, err := operator.ParseLoginToken(token)
	if err != nil || parsed.Name != "alice" || parsed.Pin != w.pki.Pin() || parsed.String() != token {
		t.Fatal("a login token is not read back as it was", err)
	}
	for name, bad := range map[string]string{
		"nothing": "", "the bootstrap token": w.token(), "another's secret": strings.Replace(other, "~bob~", "~alice~", 1),
		"somebody who is not named": strings.Replace(token, "~alice~", "~carol~", 1),
		"a secret cut":              strings.Replace(token, "~alice~", "~alice~A", 1), "capitals": strings.ToUpper(token),
		"a part more": token + "~", "padding": token + "=",
	} {
		_, err := w.book.Login(t.Context(), bad, w.csr(w.key()))
		t.Run(name, func(t *testing.T) { (&world{TB: t}).refused(err, attestd.ClassUnauthenticated, token, other) })
	}
	w.advance(loginLife)
	_, err = w.book.Login(t.Context(), token, w.csr(w.key()))
	w.refused(err, attestd.ClassUnauthenticated, token)
}

func TestRequestsForCertificates(t *testing.T) {
	w := newWorld(t)
	token := w.add("alice", viewer, "blue")
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	old, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := w.csr(w.key())
	unsigned := slices.Clone(good)
	unsigned[len(unsigned)-1] ^= 1
	for name, csr := range map[string][]byte{
		"nothing": nil, "no request": []byte("x"), "a byte more": append(slices.Clone(good), 0),
		"signed by another": unsigned, "a P-224 key": w.csr(weak), "an RSA key": w.csr(old),
		"a long one": make([]byte, 9<<10),
	} {
		_, err := w.book.Login(t.Context(), token, csr)
		t.Run(name, func(t *testing.T) { (&world{TB: t}).refused(err, attestd.ClassMalformed, token) })
	}
	// What was refused for its request has not used the token up.
	asked, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "admin"}, DNSNames: []string{"attestd"},
	}, ed)
	if err != nil {
		t.Fatal(err)
	}
	given, err := w.book.Login(t.Context(), token, asked)
	if err != nil {
		t.Fatal(err)
	}
	leaf := parse(t, given.DER)
	if leaf.Subject.CommonName != "alice" || len(leaf.DNSNames) != 0 || leaf.IsCA ||
		!slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
		t.Errorf("the certificate has what the request asked for: %v %v", leaf.Subject, leaf.DNSNames)
	}
}
