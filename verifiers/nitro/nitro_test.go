package nitro_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/nitro"
	"github.com/attestd/attestd/verifiers/verifiertest"
)

func authority(t testing.TB, options forge.AWSOptions) *forge.AWS {
	t.Helper()
	made, err := forge.NewAWS(options)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func document(t testing.TB, a *forge.AWS, d forge.Document) []byte {
	t.Helper()
	made, err := a.Document(d)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func verifier(t testing.TB, roots ...*x509.Certificate) *nitro.Verifier {
	t.Helper()
	made, err := nitro.New(nitro.Config{InsecureRoots: roots})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func fresh(t testing.TB, nonce []byte) attestd.Demand {
	t.Helper()
	demand, err := attestd.Fresh(nonce)
	if err != nil {
		t.Fatal(err)
	}
	return demand
}

func spki(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

var nonce = bytes.Repeat([]byte{0xa5}, 32)

func TestConformanceOnPublishedDocuments(t *testing.T) {
	t.Parallel()
	verifiertest.Vectors(t, attestd.FormatNitro, func() verifiers.Verifier { return verifier(t) }, nil)
}

func TestConformanceOnAForgedDocument(t *testing.T) {
	t.Parallel()
	a, key := authority(t, forge.AWSOptions{}), spki(t)
	verifiertest.Conformance(t, verifiertest.Case{
		New: func() verifiers.Verifier { return verifier(t, a.Root()) },
		Input: attestd.Input{
			Evidence: document(t, a, forge.Document{Open: true, Nonce: nonce, PublicKey: key}),
			At:       a.At(), Demand: attestd.Recorded(),
		},
		Nonce: nonce, KeySPKI: key, OtherTimes: verifiertest.OutsideValidity(),
	})
}

func TestGoodDocumentsAreAccepted(t *testing.T) {
	t.Parallel()
	a, key := authority(t, forge.AWSOptions{}), spki(t)
	withKey, err := fresh(t, nonce).WithKey(key)
	if err != nil {
		t.Fatal(err)
	}
	binding := attestd.Challenge{
		Nonce: nonce, TrustDomain: "example.org", Format: attestd.FormatNitro, Purpose: "verify",
	}.Binding(key)
	bound, err := attestd.Bound(binding)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := binding.Digest()
	if err != nil {
		t.Fatal(err)
	}
	full := bytes.Repeat([]byte{7}, 1024)
	fullNonce := fresh(t, full)
	for _, row := range []struct {
		name     string
		document forge.Document
		at       time.Time
		demand   attestd.Demand
		want     attestd.Freshness
	}{
		{"a production document with the nonce", forge.Document{Nonce: nonce}, a.At(),
			fresh(t, nonce), attestd.FreshnessNonce},
		{"one whose outermost map is open-ended", forge.Document{Nonce: nonce, Open: true}, a.At(),
			fresh(t, nonce), attestd.FreshnessNonce},
		{"one that carries the demanded key", forge.Document{Nonce: nonce, PublicKey: key}, a.At(),
			withKey, attestd.FreshnessNonce},
		{"one that is bound to challenge and key", forge.Document{Nonce: digest, PublicKey: key},
			a.At(), bound, attestd.FreshnessBinding},
		{"a recorded one an hour later", forge.Document{}, a.At().Add(time.Hour),
			attestd.Recorded(), attestd.FreshnessNotShown},
		{"a fresh one from 59 s in the future", forge.Document{Nonce: nonce},
			a.At().Add(-59 * time.Second), fresh(t, nonce), attestd.FreshnessNonce},
		{"a fresh one from 5 minutes ago", forge.Document{Nonce: nonce}, a.At().Add(5 * time.Minute),
			fresh(t, nonce), attestd.FreshnessNonce},
		// neg: 42
		{"one with fields of 1024 bytes", forge.Document{Nonce: full, UserData: full, PublicKey: full},
			a.At(), fullNonce, attestd.FreshnessNonce},
		{"one with empty fields", forge.Document{Nonce: nonce, UserData: []byte{}, PublicKey: []byte{}},
			a.At(), fresh(t, nonce), attestd.FreshnessNonce},
		// neg: 33
		{"one whose bundle lacks the root", forge.Document{Nonce: nonce, Bundle: a.Bundle()[1:]},
			a.At(), fresh(t, nonce), attestd.FreshnessNonce},
		{"one without its optional fields", forge.Document{Fields: func(f []forge.CBORField) []forge.CBORField {
			return forge.DropField(forge.DropField(forge.DropField(f, "nonce"), "user_data"), "public_key")
		}}, a.At(), attestd.Recorded(), attestd.FreshnessNotShown},
		{"one with its fields in another order", forge.Document{Nonce: nonce,
			Fields: func(f []forge.CBORField) []forge.CBORField { return append(f[4:], f[:4]...) }},
			a.At(), fresh(t, nonce), attestd.FreshnessNonce},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			claims, err := verifier(t, a.Root()).Verify(attestd.Input{
				Evidence: document(t, a, row.document), At: row.at, Demand: row.demand,
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := claims.Freshness(); got != row.want {
				t.Errorf("freshness %v, want %v", got, row.want)
			}
			if !claims.InsecureRoots() {
				t.Error("claims under a test root do not say so")
			}
		})
	}
}

func TestWhatClaimsSay(t *testing.T) {
	t.Parallel()
	a := authority(t, forge.AWSOptions{})
	for _, row := range []struct {
		name     string
		document forge.Document
		facts    map[string]string
	}{
		{"a production enclave", forge.Document{UserData: []byte("hello")}, map[string]string{
			"debug": "false", "module_id": forge.AWSModuleID, "instance_id": "i-0123456789abcdef0",
			"region": "us-east-2", "signed_at": "2026-06-01T12:00:00Z", "user_data": "68656c6c6f",
			"pcr4": attestd.Bytes(forge.AWSRegister(4)).String(), "digest": "SHA384",
		}},
		// neg: 44
		{"a debug enclave", forge.Document{Debug: true}, map[string]string{"debug": "true"}},
		{"an enclave of which register 0 alone is zero",
			forge.Document{PCRs: map[uint64][]byte{0: make([]byte, 48)}}, map[string]string{"debug": "true"}},
		{"an enclave of which register 1 alone is zero",
			forge.Document{PCRs: map[uint64][]byte{1: make([]byte, 48)}}, map[string]string{"debug": "true"}},
		{"an enclave of which register 2 alone is zero",
			forge.Document{PCRs: map[uint64][]byte{2: make([]byte, 48)}}, map[string]string{"debug": "true"}},
		// neg: 49
		{"role, instance and signer that are zero or absent satisfy no policy",
			forge.Document{PCRs: map[uint64][]byte{3: make([]byte, 48), 4: nil, 8: make([]byte, 48)}},
			map[string]string{"pcr3": "not visible", "pcr4": "not visible", "pcr8": "not visible"}},
		// neg: 50
		{"a module id of another shape names no instance", forge.Document{
			Fields: func(f []forge.CBORField) []forge.CBORField {
				return forge.SetField(f, "module_id", forge.CBORText("i-xyz"))
			}}, map[string]string{
			"module_id": "i-xyz", "instance_id": "not visible", "region": "not visible",
		}},
		{"a module id with terminal commands is shown without them", forge.Document{
			Fields: func(f []forge.CBORField) []forge.CBORField {
				return forge.SetField(f, "module_id", forge.CBORText("i-1\x1b[2J"))
			}}, map[string]string{"module_id": "i-1?[2J"}},
		{"register 16, which an enclave extends itself",
			forge.Document{PCRs: map[uint64][]byte{16: forge.AWSRegister(16)}},
			map[string]string{"pcr16": attestd.Bytes(forge.AWSRegister(16)).String()}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			claims, err := verifier(t, a.Root()).Verify(attestd.Input{
				Evidence: document(t, a, row.document), At: a.At(), Demand: attestd.Recorded(),
			})
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range row.facts {
				value, ok := claims.Fact(name)
				if !ok || value.String() != want {
					t.Errorf("fact %s is %q (%v), want %q", name, value, ok, want)
				}
			}
		})
	}
}

func TestHandlesAndRegisters(t *testing.T) {
	t.Parallel()
	a := authority(t, forge.AWSOptions{})
	claims, err := verifier(t, a.Root()).Verify(attestd.Input{
		Evidence: document(t, a, forge.Document{}), At: a.At(), Demand: attestd.Recorded(),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[attestd.HandleKind]string{
		attestd.HandleInstance: forge.AWSModuleID, attestd.HandleHost: "i-0123456789abcdef0",
	}
	for handle := range claims.Handles() {
		if handle.Value != want[handle.Kind] {
			t.Errorf("handle %s is %q, want %q", handle.Kind, handle.Value, want[handle.Kind])
		}
		delete(want, handle.Kind)
	}
	if len(want) != 0 {
		t.Errorf("missing handles: %v", want)
	}
	count := 0
	for register := range claims.Registers() {
		if register.Algorithm != "SHA384" || len(register.Digest) != 48 {
			t.Errorf("register %s: %s of %d bytes", register.Name, register.Algorithm, len(register.Digest))
		}
		count++
	}
	if count != 16 {
		t.Errorf("%d registers, want all 16 of the document", count)
	}
}

func TestAChangedSignatureIsTheSameStatement(t *testing.T) {
	t.Parallel()
	// neg: 19 - (r, n-s) verifies as (r, s) does: two digests of evidence, one nonce. That is why the
	// ledger of used challenges goes by the nonce and never by the evidence.
	a := authority(t, forge.AWSOptions{})
	var other []byte
	first := document(t, a, forge.Document{Nonce: nonce, Signature: func(s []byte) []byte {
		other = forge.NegateS(s)
		return s
	}})
	second := append(bytes.Clone(first[:len(first)-96]), other...)
	v := verifier(t, a.Root())
	for _, evidence := range [][]byte{first, second} {
		claims, err := v.Verify(attestd.Input{Evidence: evidence, At: a.At(), Demand: fresh(t, nonce)})
		if err != nil {
			t.Fatal(err)
		}
		if value, _ := claims.Fact("nonce"); value.String() != attestd.Bytes(nonce).String() {
			t.Errorf("nonce is %s", value)
		}
	}
}

func TestNothingIsAskedOfNothing(t *testing.T) {
	t.Parallel()
	a := authority(t, forge.AWSOptions{})
	evidence := document(t, a, forge.Document{Nonce: nonce})
	for name, input := range map[string]attestd.Input{
		"a zero demand": {Evidence: evidence, At: a.At()},
		"a zero time":   {Evidence: evidence, Demand: attestd.Recorded()},
	} {
		claims, err := verifier(t, a.Root()).Verify(input)
		var caller *attestd.CallerError
		if claims != nil || !errors.As(err, &caller) {
			t.Errorf("%s: got %v, want a caller's error", name, err)
		}
	}
}

func TestConfigThatWillNotDoIsRefused(t *testing.T) {
	t.Parallel()
	a := authority(t, forge.AWSOptions{})
	leaf, err := x509.ParseCertificate(a.Leaf())
	if err != nil {
		t.Fatal(err)
	}
	bare := *a.Root()
	bare.Raw = nil
	for name, config := range map[string]nitro.Config{
		"a root whose bytes are gone": {InsecureRoots: []*x509.Certificate{&bare}},
		"a nil root":                  {InsecureRoots: []*x509.Certificate{nil}},
		"a root that is no CA":        {InsecureRoots: []*x509.Certificate{leaf}},
		"a cache of minus one":        {ChainCacheSize: -1},
		"a root without its data":     {InsecureRoots: []*x509.Certificate{{}}},
	} {
		verifier, err := nitro.New(config)
		var caller *attestd.CallerError
		if verifier != nil || !errors.As(err, &caller) || caller.Class != attestd.ClassConfig {
			t.Errorf("%s: got %v, want class CONFIG", name, err)
		}
	}
}
