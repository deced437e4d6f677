package authn_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"log/slog"
	"math/big"
	"net/url"
	"sync"
	"testing"
	"time"

	"context"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/attestd/attestd/internal/authn"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/subject"
)

const (
	domain   = "example.org"
	workload = "spiffe://example.org/agent/rag"
	audience = "attestd://decide"
)

var start = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// held is a source that gives what the test put in.
type held struct {
	mu     sync.Mutex
	bundle *spiffebundle.Bundle
	err    error
	asked  int
}

func (h *held) Every() time.Duration { return time.Minute }

func (h *held) Fetch(context.Context) (*spiffebundle.Bundle, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	if h.err != nil {
		return nil, h.err
	}
	return h.bundle.Clone(), nil
}

// world is an authenticator over the bundle of one trust domain, with a key for tokens and one for
// certificates.
type world struct {
	testing.TB
	source  *held
	other   *held
	bundles *authn.Bundles
	authn   *authn.Authenticator
	key     *ecdsa.PrivateKey
	ca      *x509.Certificate
	caKey   *ecdsa.PrivateKey
	mu      sync.Mutex
	now     time.Time
	epoch   uint64
}

func newWorld(tb testing.TB, change func(*authn.Config)) *world {
	tb.Helper()
	w := &world{TB: tb, now: start, epoch: 1, key: key(tb, elliptic.P256()), caKey: key(tb, elliptic.P256())}
	w.ca = w.certificate(w.caKey.Public(), w.caKey, nil, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		c.URIs, c.ExtKeyUsage = []*url.URL{{Scheme: "spiffe", Host: domain}}, nil
	})
	w.source = &held{bundle: w.bundle(domain)}
	w.other = &held{bundle: w.bundle("partner.org")}
	var err error
	w.bundles, err = authn.NewBundles(authn.BundlesConfig{
		Sources: map[spiffeid.TrustDomain]authn.Source{
			spiffeid.RequireTrustDomainFromString(domain):        w.source,
			spiffeid.RequireTrustDomainFromString("partner.org"): w.other,
		},
		MaxAge: time.Hour, Now: w.clock, Logger: slog.New(slog.DiscardHandler),
	})
	must(tb, err)
	must(tb, w.refresh())
	config := authn.Config{
		Bundles: w.bundles, Audiences: []string{audience}, Leeway: time.Second, MaxAge: 10 * time.Minute,
		Entries: 1024,
	}
	if change != nil {
		change(&config)
	}
	w.authn, err = authn.New(config)
	must(tb, err)
	return w
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func key(tb testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	tb.Helper()
	out, err := ecdsa.GenerateKey(curve, rand.Reader)
	must(tb, err)
	return out
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) wait(by time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(by)
}

func (w *world) refresh() error {
	_, err := w.bundles.Refresh(context.Background(), spiffeid.RequireTrustDomainFromString(domain))
	return err
}

// bundle has the key of tokens as "k1" and the authority of certificates.
func (w *world) bundle(of string) *spiffebundle.Bundle {
	w.Helper()
	out := spiffebundle.New(spiffeid.RequireTrustDomainFromString(of))
	must(w, out.AddJWTAuthority("k1", w.key.Public()))
	out.AddX509Authority(w.ca)
	out.SetSequenceNumber(7)
	return out
}

func claims() map[string]any {
	return map[string]any{
		"sub": workload, "aud": []string{audience}, "exp": start.Add(5 * time.Minute).Unix(),
		"iat": start.Unix(),
	}
}

// token signs claims as SPIRE does; change can make the header another one.
func (w *world) token(claims map[string]any) string {
	w.Helper()
	return w.signed(jose.ES256, w.key, map[jose.HeaderKey]any{"kid": "k1", "typ": "JWT"}, claims)
}

func (w *world) signed(
	algorithm jose.SignatureAlgorithm, with any, extra map[jose.HeaderKey]any, claims any,
) string {
	w.Helper()
	document, err := json.Marshal(claims)
	must(w, err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: with},
		&jose.SignerOptions{ExtraHeaders: extra})
	must(w, err)
	made, err := signer.Sign(document)
	must(w, err)
	text, err := made.CompactSerialize()
	must(w, err)
	return text
}

func (w *world) certificate(
	public crypto.PublicKey, signer crypto.Signer, parent *x509.Certificate, change func(*x509.Certificate),
) *x509.Certificate {
	w.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{Organization: []string{"test"}},
		NotBefore: start.Add(-time.Minute), NotAfter: start.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		URIs:        []*url.URL{{Scheme: "spiffe", Host: domain, Path: "/agent/rag"}},
	}
	if change != nil {
		change(template)
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	must(w, err)
	out, err := x509.ParseCertificate(der)
	must(w, err)
	return out
}

// svid is an X509-SVID of the workload.
func (w *world) svid(change func(*x509.Certificate)) *x509.Certificate {
	w.Helper()
	return w.certificate(key(w, elliptic.P256()).Public(), w.caKey, w.ca, change)
}

func (w *world) epochs(subject.ID) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.epoch
}

func (w *world) identify(credential decision.Credential) decision.Who {
	return w.authn.Identify(context.Background(), credential, w.clock(), w.epochs)
}

func (w *world) shows(text string) decision.Who {
	return w.identify(decision.Credential{Token: text})
}

// wide is a validity for what is verified by the real clock.
func wide() (from, until time.Time) { return time.Now().Add(-time.Hour), time.Now().Add(time.Hour) }
