package all_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/all"
)

// notFormats are the folders beside the verifiers.
var notFormats = []string{"all", "eventlog", "internal", "verifiertest"}

// TestEveryFolderIsComplete walks verifiers/ and wants, for each folder that is a format, an entry
// in the list, a conformance call, a fuzz target and a page. Adding a format is adding a folder:
// what is forgotten shows here.
func TestEveryFolderIsComplete(t *testing.T) {
	list, err := all.New(all.Config{})
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]attestd.Format{}
	for _, verifier := range list {
		folder := strings.ReplaceAll(string(verifier.Format()), "-", "")
		if _, double := listed[folder]; double {
			t.Errorf("format %q stands in the list twice", verifier.Format())
		}
		listed[folder] = verifier.Format()
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, entry := range entries {
		if !entry.IsDir() || slices.Contains(notFormats, entry.Name()) {
			continue
		}
		found++
		format, known := listed[entry.Name()]
		if !known {
			t.Errorf("verifiers/%s has no entry in the list", entry.Name())
			continue
		}
		tests := sourceOfTests(t, filepath.Join("..", entry.Name()))
		if !bytes.Contains(tests, []byte("verifiertest.Conformance(")) &&
			!bytes.Contains(tests, []byte("verifiertest.Vectors(")) {
			t.Errorf("verifiers/%s never calls the conformance suite", entry.Name())
		}
		if !bytes.Contains(tests, []byte("\nfunc Fuzz")) {
			t.Errorf("verifiers/%s has no fuzz target", entry.Name())
		}
		page := filepath.Join("..", "..", "docs", "verifiers", string(format)+".md")
		if _, err := os.Stat(page); err != nil {
			t.Errorf("verifiers/%s has no page docs/verifiers/%s.md", entry.Name(), format)
		}
	}
	if found != len(list) {
		t.Errorf("%d folders for %d entries of the list", found, len(list))
	}
}

func sourceOfTests(t *testing.T, folder string) []byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var source []byte
	for _, name := range names {
		text, err := os.ReadFile(name) //nolint:gosec // a file of the repository
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, text...)
	}
	return source
}

// TestARootOfNoVendorIsRefused shows that a root which no verifier can use is said to be one,
// instead of being dropped.
func TestARootOfNoVendorIsRefused(t *testing.T) {
	leaf := selfSigned(t, "a leaf", newECDSA(t, elliptic.P256()), func(c *x509.Certificate) {
		c.IsCA = false
	})
	for name, root := range map[string]*x509.Certificate{
		"an Ed25519 root": {PublicKeyAlgorithm: x509.Ed25519}, "no root": nil,
		"a certificate that is no CA": leaf,
		"an RSA key of 1024 bits":     selfSigned(t, "short", newRSA(t, 1024), nil),
		"ECDSA on P-224":              selfSigned(t, "short", newECDSA(t, elliptic.P224()), nil),
	} {
		var refused *attestd.CallerError
		_, err := all.New(all.Config{InsecureRoots: []*x509.Certificate{root}})
		if !errors.As(err, &refused) || refused.Class != attestd.ClassConfig || refused.Hint == "" {
			t.Errorf("%s: got %v, want a CONFIG error", name, err)
		}
	}
}

// TestRootsGoToTheirVerifiers loads a root of each kind. Those of TPM makers are told from AMD's by
// their names, and one on P-384 is AWS's and a TPM maker's at once: which it is, its chains show.
func TestRootsGoToTheirVerifiers(t *testing.T) {
	for name, root := range map[string]*x509.Certificate{
		"RSA, of a TPM maker":    selfSigned(t, "Maker RSA", newRSA(t, 2048), nil),
		"P-256, of a TPM maker":  selfSigned(t, "Maker P-256", newECDSA(t, elliptic.P256()), nil),
		"P-384, of AWS or maker": selfSigned(t, "Maker P-384", newECDSA(t, elliptic.P384()), nil),
		"P-521, of a TPM maker":  selfSigned(t, "Maker P-521", newECDSA(t, elliptic.P521()), nil),
	} {
		list, err := all.New(all.Config{InsecureRoots: []*x509.Certificate{root}})
		if err != nil || len(list) < 5 {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The ARK's name sends an RSA root to AMD's verifier, which wants AMD's key.
	_, err := all.New(all.Config{InsecureRoots: []*x509.Certificate{
		selfSigned(t, "ARK-Milan", newRSA(t, 2048), nil),
	}})
	var refused *attestd.CallerError
	if !errors.As(err, &refused) || refused.Class != attestd.ClassConfig {
		t.Errorf("an ARK of 2048 bits: %v", err)
	}
}

func newRSA(t *testing.T, bits int) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newECDSA(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func selfSigned(
	t *testing.T, name string, key crypto.Signer, edit func(*x509.Certificate),
) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if edit != nil {
		edit(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}
