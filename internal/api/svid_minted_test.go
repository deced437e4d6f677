package api_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/api"
	"github.com/attestd/attestd/internal/svid"
	"github.com/attestd/attestd/testvectors/forge"
)

// TestWhatSPIREMintsIsLookedAt: it is another program, and the controller another process.
func TestWhatSPIREMintsIsLookedAt(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, alter := range map[string]func(map[string]any){
		"for another id":      func(c map[string]any) { c["sub"] = signerID + "-2" },
		"for another service": func(c map[string]any) { c["aud"] = []string{"bank", "shop"} },
		"without the key":     func(c map[string]any) { delete(c, "cnf") },
		"with another's key": func(c map[string]any) {
			c["cnf"] = map[string]any{"jwk": jose.JSONWebKey{Key: other.Public()}}
		},
		"without an end":    func(c map[string]any) { delete(c, "exp") },
		"that lives longer": func(c map[string]any) { c["exp"] = time.Now().Add(time.Hour).Unix() },
	} {
		t.Run("a token "+name, func(t *testing.T) {
			m := newMint(t)
			m.spire.alter = alter
			m.problem(m.jwt(nil), http.StatusServiceUnavailable, attestd.ClassStoreUnavailable)
		})
	}
	for name, forged := range map[string]func(*x509.Certificate, *crypto.PublicKey){
		"over another key": func(_ *x509.Certificate, key *crypto.PublicKey) { *key = other.Public() },
		"of a CA": func(leaf *x509.Certificate, _ *crypto.PublicKey) {
			leaf.IsCA, leaf.BasicConstraintsValid = true, true
		},
		"for a host too": func(leaf *x509.Certificate, _ *crypto.PublicKey) {
			leaf.DNSNames = []string{"bank"}
		},
		"for another id": func(leaf *x509.Certificate, _ *crypto.PublicKey) {
			leaf.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/enclave/blue/other"}}
		},
		"that lives longer": func(leaf *x509.Certificate, _ *crypto.PublicKey) {
			leaf.NotAfter = time.Now().Add(time.Hour)
		},
	} {
		t.Run("a certificate "+name, func(t *testing.T) {
			m := newMint(t)
			m.spire.forge = forged
			m.problem(m.x509(nil), http.StatusServiceUnavailable, attestd.ClassStoreUnavailable)
		})
	}
}

// TestHoldersAtATimeGetEachTheirOwn: SPIRE does not say for whom it asks. Machines with keys of
// their own ask for a token of one id and audience.
func TestHoldersAtATimeGetEachTheirOwn(t *testing.T) {
	m := newMint(t)
	var inside sync.Mutex
	m.spire.before = func() {
		if !inside.TryLock() {
			t.Error("two requests of one id are with SPIRE")
			return
		}
		defer inside.Unlock()
		time.Sleep(20 * time.Millisecond)
	}
	asks, keys := make([]object, 4), make([]*ecdsa.PrivateKey, 4)
	for i := range asks {
		var err error
		instance := fmt.Sprintf("i-0123456789abcde0%d-enc0123456789abcde0%d", i, i)
		m.own(instance, "blue")
		m.aws, err = m.aws.Sibling(forge.AWSOptions{At: time.Now(), ModuleID: instance})
		m.must(err)
		keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		m.must(err)
		key := spki(t, keys[i].Public())
		asks[i] = m.attested(svid.Purpose, key).with(object{
			"key_spki": key, "audience": []string{"bank"},
		})
	}
	got := make([]answer, len(asks))
	var group sync.WaitGroup
	for i, ask := range asks {
		group.Go(func() { got[i] = m.post("/v1/svid", ask) })
	}
	group.Wait()
	for i, key := range keys {
		named := m.claims(m.issued(got[i]).Token)["cnf"].(map[string]any)["jwk"].(map[string]any)
		own, err := json.Marshal(jose.JSONWebKey{Key: key.Public()})
		m.must(err)
		if x, _ := named["x"].(string); x == "" || !strings.Contains(string(own), x) {
			t.Errorf("machine %d got a token for the key %v", i, named)
		}
	}
}

func TestWithoutSPIREThereAreNoIdentities(t *testing.T) {
	w := newWorld(t, options{})
	w.problem(w.post("/v1/svid", object{}), http.StatusBadRequest, attestd.ClassUnsupported)
	for _, row := range api.Routes() {
		if row[1] == "/v1/svid" && row[0] != http.MethodPost {
			t.Errorf("it takes %s", row[0])
		}
	}
}
