package tpmtrust_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the self-signatures of old roots
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
)

// TestPinnedRootsAreMakers walks the table: every root signs itself, may sign certificates, has a
// key that no one can break, and belongs to no simulator. neg: 87
func TestPinnedRootsAreMakers(t *testing.T) {
	roots, err := tpmtrust.Pinned()
	if err != nil {
		t.Fatal(err)
	}
	if len(roots) < 30 {
		t.Fatalf("%d roots", len(roots))
	}
	seen := map[string]bool{}
	for _, root := range roots {
		certificate := root.Certificate
		name := root.Vendor + ": " + certificate.Subject.CommonName
		if !bytes.Equal(certificate.RawIssuer, certificate.RawSubject) || !signedByItself(certificate) {
			t.Errorf("%s is not signed by itself", name)
		}
		if !certificate.IsCA || certificate.KeyUsage&x509.KeyUsageCertSign == 0 {
			t.Errorf("%s may not sign certificates", name)
		}
		if bits := keyBits(certificate); bits < 256 || bits > 521 && bits < 2048 {
			t.Errorf("%s has a key of %d bits", name, bits)
		}
		for _, word := range []string{"swtpm", "simulator", "test", "ibm", "localca"} {
			if strings.Contains(strings.ToLower(certificate.Subject.String()), word) {
				t.Errorf("%s sounds like a simulator's (%s)", certificate.Subject, word)
			}
		}
		if !certificate.NotAfter.After(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%s ended %s", name, certificate.NotAfter)
		}
		if len(strings.Fields(root.Sources)) < 2 && root.Vendor != "Google" {
			t.Errorf("%s was found in one place alone: %s", name, root.Sources)
		}
		key := string(certificate.RawSubjectPublicKeyInfo)
		if seen[key] {
			t.Errorf("%s has the key of another root", name)
		}
		seen[key] = true
	}
}

// signedByItself also takes SHA-1, which crypto/x509 takes no longer: nobody believes a root for
// its signature, and one that is not there would still be a copy gone wrong.
func signedByItself(certificate *x509.Certificate) bool {
	if certificate.SignatureAlgorithm == x509.SHA1WithRSA {
		digest := sha1.Sum(certificate.RawTBSCertificate) //nolint:gosec // see above
		key, ok := certificate.PublicKey.(*rsa.PublicKey)
		return ok && rsa.VerifyPKCS1v15(key, crypto.SHA1, digest[:], certificate.Signature) == nil
	}
	return certificate.CheckSignature(certificate.SignatureAlgorithm, certificate.RawTBSCertificate,
		certificate.Signature) == nil
}

func keyBits(certificate *x509.Certificate) int {
	switch key := certificate.PublicKey.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen()
	case *ecdsa.PublicKey:
		return key.Curve.Params().BitSize
	default:
		return 0
	}
}

// TestEveryIntermediateHasAPath shows that no certificate is compiled in that no pinned root stands
// above: it would be dead weight, or somebody's who hoped for a root.
func TestEveryIntermediateHasAPath(t *testing.T) {
	intermediates, err := tpmtrust.Intermediates()
	if err != nil {
		t.Fatal(err)
	}
	roots, err := tpmtrust.PinnedRoots()
	if err != nil {
		t.Fatal(err)
	}
	if len(intermediates) < 100 {
		t.Fatalf("%d intermediates", len(intermediates))
	}
	anchored := append([]*x509.Certificate(nil), roots...)
	waiting := intermediates
	for len(waiting) > 0 {
		var still []*x509.Certificate
		for _, certificate := range waiting {
			if signedByOne(certificate, anchored) {
				anchored = append(anchored, certificate)
			} else {
				still = append(still, certificate)
			}
		}
		if len(still) == len(waiting) {
			for _, certificate := range still {
				t.Errorf("no path from %s", certificate.Subject)
			}
			return
		}
		waiting = still
	}
}

func signedByOne(certificate *x509.Certificate, issuers []*x509.Certificate) bool {
	for _, issuer := range issuers {
		if issuer.Subject.String() == certificate.Issuer.String() && issuer.CheckSignature(
			certificate.SignatureAlgorithm, certificate.RawTBSCertificate, certificate.Signature) == nil {
			return true
		}
	}
	return false
}

// TestTheRootsPageIsTheTable keeps docs/reference/tpm-roots.md and the code the same, so that
// people compare fingerprints that are really compiled in.
func TestTheRootsPageIsTheTable(t *testing.T) {
	roots, err := tpmtrust.Pinned()
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	for _, root := range roots {
		digest := sha256.Sum256(root.Certificate.Raw)
		fmt.Fprintf(&table, "| %s | %s | %s | %s | %s | `%s` | %s |\n", root.Vendor,
			root.Certificate.Subject.CommonName, root.Use, keyName(root.Certificate),
			root.Certificate.NotAfter.UTC().Format("2006-01-02"), hex.EncodeToString(digest[:]),
			strings.ReplaceAll(root.Sources, " ", ", "))
	}
	intermediates, err := tpmtrust.Intermediates()
	if err != nil {
		t.Fatal(err)
	}
	count := fmt.Sprintf("%d intermediate certificates", len(intermediates))
	page, err := os.ReadFile("../../../docs/reference/tpm-roots.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, wanted := range []string{table.String(), count} {
		if !strings.Contains(string(page), wanted) {
			t.Errorf("docs/reference/tpm-roots.md does not have, in one piece:\n%s", wanted)
		}
	}
}

func keyName(certificate *x509.Certificate) string {
	name := fmt.Sprintf("RSA-%d", keyBits(certificate))
	if key, ok := certificate.PublicKey.(*ecdsa.PublicKey); ok {
		name = key.Curve.Params().Name
	}
	if certificate.SignatureAlgorithm == x509.SHA1WithRSA {
		name += " (self-signed with SHA-1)"
	}
	return name
}
