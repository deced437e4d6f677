package authn_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/decision"
)

func (w *world) showsChain(chain ...*x509.Certificate) decision.Who {
	return w.identify(decision.Credential{Chain: chain})
}

func TestACertificateIdentifiesItsSubject(t *testing.T) {
	w := newWorld(t, nil)
	leaf := w.svid(nil)
	who := w.showsChain(leaf)
	if who.Fault != "" || who.ID != workload || who.Method != decision.MethodX509 || !who.Expires.Equal(leaf.NotAfter) {
		t.Fatalf("got %+v", who)
	}
	if again := w.showsChain(leaf); !again.Cached {
		t.Errorf("the second time: %+v", again)
	}
	middleKey := key(t, elliptic.P256())
	middle := w.certificate(middleKey.Public(), w.caKey, w.ca, func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
		c.URIs, c.NotAfter = []*url.URL{{Scheme: "spiffe", Host: domain}}, start.Add(10*time.Minute)
	})
	below := w.certificate(key(t, elliptic.P256()).Public(), middleKey, middle, nil)
	who = w.showsChain(below, middle)
	if who.Fault != "" || !who.Expires.Equal(middle.NotAfter) {
		t.Errorf("below an authority that ends sooner: %+v", who)
	}
	if who := w.showsChain(below); who.Fault != decision.CodeUnauthenticated {
		t.Errorf("without that authority: %+v", who)
	}
}

func TestCertificatesThatIdentifyNobody(t *testing.T) {
	w := newWorld(t, nil)
	strangeKey := key(t, elliptic.P256())
	strange := w.certificate(strangeKey.Public(), strangeKey, nil, func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
	})
	uri := func(host, path string) *url.URL { return &url.URL{Scheme: "spiffe", Host: host, Path: path} }
	for name, row := range map[string]struct {
		chain []*x509.Certificate
		code  decision.Code
	}{
		"another authority": {[]*x509.Certificate{
			w.certificate(key(t, elliptic.P256()).Public(), strangeKey, strange, nil), strange,
		}, decision.CodeUnauthenticated},
		"over": {[]*x509.Certificate{w.svid(func(c *x509.Certificate) {
			c.NotAfter = start.Add(-time.Second)
		})}, decision.CodeExpired},
		"not yet": {[]*x509.Certificate{w.svid(func(c *x509.Certificate) {
			c.NotBefore = start.Add(time.Minute)
		})}, decision.CodeExpired},
		"two URIs": {[]*x509.Certificate{w.svid(func(c *x509.Certificate) {
			c.URIs = append(c.URIs, uri(domain, "/admin"))
		})}, decision.CodeUnauthenticated},
		"no URI": {[]*x509.Certificate{w.svid(func(c *x509.Certificate) { c.URIs = nil })},
			decision.CodeUnauthenticated},
		"an authority": {[]*x509.Certificate{w.ca}, decision.CodeUnauthenticated},
		"a leaf that may sign certificates": {[]*x509.Certificate{w.svid(func(c *x509.Certificate) {
			c.KeyUsage |= x509.KeyUsageCertSign
		})}, decision.CodeUnauthenticated},
		"a key that signs nothing": {[]*x509.Certificate{w.svid(func(c *x509.Certificate) {
			c.KeyUsage = x509.KeyUsageKeyEncipherment
		})}, decision.CodeUnauthenticated},
		"a server's alone": {[]*x509.Certificate{w.svid(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		})}, decision.CodeUnauthenticated},
		"a trust domain alone": {[]*x509.Certificate{w.svid(func(c *x509.Certificate) {
			c.URIs = []*url.URL{uri(domain, "")}
		})}, decision.CodeUnauthenticated},
		"a domain that nobody named": {[]*x509.Certificate{w.svid(func(c *x509.Certificate) {
			c.URIs = []*url.URL{uri("elsewhere.org", "/x")}
		})}, decision.CodeUnauthenticated},
		"a domain whose bundle is not at hand": {[]*x509.Certificate{w.svid(func(c *x509.Certificate) {
			c.URIs = []*url.URL{uri("partner.org", "/x")}
		})}, decision.CodeBundleUnavailable},
		"a long chain":         {slices.Repeat([]*x509.Certificate{w.svid(nil)}, 6), decision.CodeUnauthenticated},
		"no certificate in it": {[]*x509.Certificate{nil}, decision.CodeUnauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				if who := w.showsChain(row.chain...); who.Fault != row.code || who.ID != "" || who.Cached {
					t.Errorf("got %+v, want %s", who, row.code)
				}
			}
		})
	}
}

// An authority that left the bundle vouches for nobody from then on, whatever is remembered.
func TestAnAuthorityThatLeftTheBundle(t *testing.T) {
	w := newWorld(t, nil)
	leaf := w.svid(nil)
	w.showsChain(leaf)
	otherKey := key(t, elliptic.P256())
	w.source.bundle.SetX509Authorities([]*x509.Certificate{
		w.certificate(otherKey.Public(), otherKey, nil, func(c *x509.Certificate) { c.IsCA = true }),
	})
	must(t, w.refresh())
	if who := w.showsChain(leaf); who.Fault != decision.CodeUnauthenticated || who.Cached {
		t.Errorf("got %+v", who)
	}
}

func FuzzChain(f *testing.F) {
	w := newWorld(f, nil)
	f.Add(w.svid(nil).Raw)
	f.Add(w.ca.Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		if who := w.showsChain(leaf); (who.Fault == "") == (who.ID == "") {
			t.Fatalf("neither somebody nor a fault: %+v", who)
		}
	})
}
