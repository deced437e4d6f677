package sevsnp_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-sev-guest/verify/trust"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/sevsnp"
)

// wantWords demands a CONFIG error that says why: what one check lets through here, the next would
// refuse for another reason.
func wantWords(t *testing.T, what string, err error, words string) {
	t.Helper()
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig ||
		!strings.Contains(err.Error(), words) {
		t.Errorf("%s: got %v, want %q", what, err, words)
	}
}

func TestRootsThatAreMadeUnlikeAMDs(t *testing.T) {
	made := func(edit func(*x509.Certificate)) *x509.Certificate {
		authority, err := forge.NewAMD(forge.AMDConfig{Line: "Milan", EditARK: edit})
		if err != nil {
			t.Fatal(err)
		}
		return authority.ARK
	}
	reread := func(der []byte) *x509.Certificate {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return certificate
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ARK-Milan"},
	}
	small, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ark := authority(t, "Milan").ARK
	for name, row := range map[string]struct {
		root  *x509.Certificate
		words string
	}{
		"a short key": {reread(small), "key is not RSA of 4096 bits"},
		"another algorithm": {made(func(c *x509.Certificate) {
			c.SignatureAlgorithm = x509.SHA256WithRSAPSS
		}), "signature algorithm"},
		"no authority": {made(func(c *x509.Certificate) {
			c.IsCA = false
		}), "not a certificate authority"},
		"no right to sign": {made(func(c *x509.Certificate) {
			c.KeyUsage = x509.KeyUsageCRLSign
		}), "key usage"},
		"a critical extension": {made(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{
				Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0},
			}}
		}), "unknown critical extension"},
		"another issuer": {
			reread(bytes.Replace(ark.Raw, []byte("ARK-Milan"), []byte("ARK-Mulan"), 1)),
			"is not the self-signed",
		},
		"no bytes": {&x509.Certificate{Subject: ark.Subject}, "x509"},
	} {
		_, err := sevsnp.New(sevsnp.Config{InsecureRoots: []*x509.Certificate{row.root}})
		wantWords(t, name, err, row.words)
	}
	_, err = sevsnp.New(sevsnp.Config{ChainCacheSize: -1})
	wantWords(t, "a cache of less than nothing", err, "cache for -1 certificates")
}

// TestPinnedCertificatesAreOfTheirLine: digests alone would take whatever somebody wrote into the
// table.
func TestPinnedCertificatesAreOfTheirLine(t *testing.T) {
	milan, rest := pem.Decode(trust.AskArkMilanVcekBytes)
	root, _ := pem.Decode(rest)
	vlek, _ := pem.Decode(trust.AskArkMilanVlekBytes)
	junk := []byte("no certificate")
	if err := sevsnp.PinnedAs("Milan", false, milan.Bytes, root.Bytes); err != nil {
		t.Fatal(err)
	}
	if err := sevsnp.PinnedAs("Milan", true, vlek.Bytes, root.Bytes); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		line     string
		ask, ark []byte
		words    string
	}{
		"an ASK that is none": {"Milan", junk, root.Bytes, "parse"},
		"an ARK that is none": {"Milan", milan.Bytes, junk, "parse"},
		"another line's":      {"Genoa", milan.Bytes, root.Bytes, "not the self-signed ARK-Genoa"},
		"an ASVK for an ASK":  {"Milan", vlek.Bytes, root.Bytes, "is not SEV-Milan"},
	} {
		wantWords(t, name, sevsnp.PinnedAs(row.line, false, row.ask, row.ark), row.words)
	}
}

func TestEachDamageOfABundleIsNamed(t *testing.T) {
	own := trust.AskArkMilanVcekBytes
	defer func() { trust.AskArkMilanVcekBytes = own }()
	for words, bundle := range map[string][]byte{
		"bundle of 0 bytes":               nil,
		"bundle of 1048576 bytes":         make([]byte, 1<<20),
		"bundle holds 1 certificates":     own[:len(own)*2/3],
		"certificate 0 is 5464738c1546ae": trust.AskArkGenoaVcekBytes,
		"1 bytes behind the certificates": append(bytes.Clone(own), 'x'),
	} {
		trust.AskArkMilanVcekBytes = bundle
		_, err := sevsnp.New(sevsnp.Config{})
		wantWords(t, "New", err, words)
		roots, err := sevsnp.PinnedRoots()
		wantWords(t, "PinnedRoots", err, words)
		others, err := sevsnp.PinnedIntermediates()
		if wantWords(t, "PinnedIntermediates", err, words); roots != nil || others != nil {
			t.Error("got certificates beside an error")
		}
	}
}

func TestNothingIsVerifiedWithoutBudget(t *testing.T) {
	list, signature := sevsnp.WithoutBudget()
	for _, err := range []error{list, signature} {
		if err == nil || !strings.Contains(err.Error(), "too many signatures") {
			t.Errorf("got %v", err)
		}
	}
}

// TestRefusalsSayWhichRuleItWas: the arithmetic behind these refuses, too, and could not say why.
func TestRefusalsSayWhichRuleItWas(t *testing.T) {
	v := forgedVerifier(t)
	s := newScene(t, "Milan", 3)
	input, _ := s.build()
	input.Evidence = bytes.Clone(input.Evidence)
	clear(input.Evidence[672 : 672+72])
	wantGot(t, v, input, "R is zero")
	s = newScene(t, "Milan", 3)
	s.demand = fresh(t, bytes.Repeat([]byte{7}, 32))
	input, _ = s.build()
	wantGot(t, v, input, "REPORT_DATA of 64 bytes")
}

func wantGot(t *testing.T, v *sevsnp.Verifier, input attestd.Input, got string) {
	t.Helper()
	_, err := v.Verify(input)
	var rejected *attestd.EvidenceError
	if !errors.As(err, &rejected) || rejected.Got != got {
		t.Errorf("got %v, want %q", err, got)
	}
}
