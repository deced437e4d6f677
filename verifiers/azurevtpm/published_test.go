package azurevtpm_test

import (
	"bytes"
	"crypto/x509"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/azureevidence"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/azurevtpm"
	"github.com/attestd/attestd/verifiers/sevsnp"
	"github.com/attestd/attestd/verifiers/tdx"
	"github.com/attestd/attestd/verifiers/tpm"
	"github.com/attestd/attestd/verifiers/verifiertest"
)

// build returns a verifier whose parts trust the roots beside the pinned ones.
func build(t testing.TB, amd, intel []*x509.Certificate) *azurevtpm.Verifier {
	t.Helper()
	guests, err := sevsnp.New(sevsnp.Config{InsecureRoots: amd})
	if err != nil {
		t.Fatal(err)
	}
	domains, err := tdx.New(tdx.Config{InsecureRoots: intel})
	if err != nil {
		t.Fatal(err)
	}
	machines, err := tpm.New(tpm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := azurevtpm.New(azurevtpm.Config{Parts: []verifiers.Verifier{guests, domains, machines}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// unsigned is why bytes of a TDREPORT may be anything.
const unsigned = "Intel TDX Module 1.5 ABI, REPORTMACSTRUCT: the MAC's key never leaves the machine, and " +
	"the quote, which is what is judged, has no such field"

// part returns where bytes of the HCL report lie in the evidence.
func part(t testing.TB, evidence, report []byte, from, to int) verifiertest.ByteRange {
	t.Helper()
	at := bytes.Index(evidence, report)
	if at < 0 {
		t.Fatal("the HCL report is not in the evidence")
	}
	return verifiertest.ByteRange{From: at + 32 + from, To: at + 32 + to, Section: unsigned}
}

// macOf are CPUSVN and MAC of the TDREPORT.
func macOf(t testing.TB, evidence, report []byte) []verifiertest.ByteRange {
	return []verifiertest.ByteRange{part(t, evidence, report, 16, 32),
		part(t, evidence, report, 224, 256)}
}

// versionOf is the TDREPORT's version, 0 or 1.
func versionOf(t testing.TB, evidence, report []byte) []verifiertest.ByteRange {
	return []verifiertest.ByteRange{part(t, evidence, report, 3, 4)}
}

func TestConformanceOfPublishedEvidence(t *testing.T) {
	verifiertest.Vectors(t, attestd.FormatAzureVTPM,
		func() verifiers.Verifier { return build(t, nil, nil) },
		func(_ testvectors.Vector, c *verifiertest.Case) {
			c.Signatures = 2 // the CPU's, and the TPM's
			parts, err := azureevidence.Parse(c.Input.Evidence)
			if err != nil {
				t.Fatal(err)
			}
			if parts.TDQuote != nil {
				// What Intel's collateral says is judged by the policy, and by tests of package tdx.
				c.Input.Endorsements = attestd.Endorsements{}
				c.Unauthenticated = macOf(t, c.Input.Evidence, parts.HCLReport)
				c.Either = versionOf(t, c.Input.Evidence, parts.HCLReport)
			}
		})
}
