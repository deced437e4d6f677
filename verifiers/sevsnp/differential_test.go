package sevsnp_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/proto/sevsnp"
	reference "github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

// askReference asks google/go-sev-guest, each time with fresh options: it writes to them. chain is
// nil for AMD's own roots.
func askReference(
	evidence, vcek []byte, line string, now time.Time, chain map[string]*forge.AMD,
) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	report, err := abi.ReportToProto(evidence)
	if err != nil {
		return err
	}
	options := &reference.Options{DisableCertFetching: true, Now: now}
	names := map[string]sevsnp.SevProduct_SevProductName{
		"Milan": sevsnp.SevProduct_SEV_PRODUCT_MILAN, "Genoa": sevsnp.SevProduct_SEV_PRODUCT_GENOA,
	}
	options.Product = &sevsnp.SevProduct{Name: names[line]}
	certificates := &sevsnp.CertificateChain{VcekCert: vcek}
	vlek := bytes.Contains(vcek, []byte("SEV-VLEK-"))
	if vlek {
		certificates = &sevsnp.CertificateChain{VlekCert: vcek}
	}
	if chain != nil {
		options.TrustedRoots = map[string][]*trust.AMDRootCerts{}
		for name, authority := range chain {
			root := trust.AMDRootCertsProduct(name)
			root.ProductCerts = &trust.ProductCerts{Ask: authority.ASK, Ark: authority.ARK}
			options.TrustedRoots[name] = []*trust.AMDRootCerts{root}
		}
		certificates.AskCert, certificates.ArkCert = chain[line].ASK.Raw, chain[line].ARK.Raw
	} else {
		root := trust.DefaultRootCerts[line]
		certificates.AskCert, certificates.ArkCert = root.ProductCerts.Ask.Raw, root.ProductCerts.Ark.Raw
		if vlek {
			above := &trust.ProductCerts{}
			if err := above.FromKDSCertBytes(trust.AskArkMilanVlekBytes); err != nil {
				return err
			}
			made := trust.AMDRootCertsProduct(line)
			made.ProductCerts = &trust.ProductCerts{
				Ask: root.ProductCerts.Ask, Asvk: above.Ask, Ark: root.ProductCerts.Ark}
			if above.Asvk != nil {
				made.ProductCerts.Asvk = above.Asvk
			}
			options.TrustedRoots = map[string][]*trust.AMDRootCerts{line: {made}}
			certificates.AskCert = made.ProductCerts.Asvk.Raw
		}
	}
	return reference.SnpAttestation(
		&sevsnp.Attestation{Report: report, CertificateChain: certificates}, options)
}

// divergences are the rows on which go-sev-guest and we differ, and why we mean to. A row that stops
// differing fails the test, so that the list stays true.
var divergences = []struct {
	why  string
	rows []string
}{
	{"it calls CPUID aa0f02 unknown; AMD certifies these chips under Genoa's root", []string{
		"a report of Bergamo or Siena is accepted under Genoa's root", "good Bergamo 5",
	}},
	{"it reads a report and ignores what follows", []string{"a report and 65 KiB"}},
	{"it falls back to the product that it was given", []string{"version 3 with CPUID all zero"}},
	{"it does not look at the reserved bytes of a TCB_VERSION", []string{
		"reserved bytes of CURRENT_TCB", "reserved bytes of REPORTED_TCB",
		"reserved bytes of COMMITTED_TCB", "reserved bytes of LAUNCH_TCB",
	}},
	{"it reads mitigation vectors in every version", []string{
		"a mitigation vector in version 2", "a mitigation vector in version 4",
	}},
	{"it looks at neither the structure version nor reserved levels", []string{
		"structure version 2", "a reserved level in use",
	}},
	{"it does not compare product name, issuer and CPUID from version 3 on", []string{
		"a VCEK for Turin issued for Milan", "a VCEK for Venice", "a product name with something behind it",
		"a VCEK for Genoa issued for Milan",
	}},
	{"it compares HWID and levels with the report in validate, not in verify", []string{
		"a VCEK of another chip with the same TCB", "a lower boot loader in the VCEK",
		"a higher TEE in the VCEK", "a lower SNP in the VCEK", "other microcode in the VCEK",
		"a VCEK for CURRENT_TCB instead of REPORTED_TCB",
	}},
}

func diverges(row string) bool {
	for _, divergence := range divergences {
		if slices.Contains(divergence.rows, row) {
			return true
		}
	}
	return false
}

func TestAgainstGoSevGuest(t *testing.T) {
	compare := func(t *testing.T, row string, ours, theirs error) {
		t.Helper()
		known := diverges(row)
		switch differ := (ours == nil) != (theirs == nil); {
		case differ && !known:
			t.Errorf("ours: %v\ntheirs: %v", ours, theirs)
		case !differ && known:
			t.Error("listed as a divergence, but the answers agree")
		}
	}
	genuine, forged := newVerifier(t), forgedVerifier(t)
	for _, row := range publishedRows {
		evidence, vcek := published(t, row.evidence), published(t, row.vcek)
		if len(evidence) != 1184 || vcek == nil || strings.HasSuffix(row.vcek, "turin_oc_vcek.der") {
			continue // of Turin's certificates it says that it does not know their extensions
		}
		t.Run(row.name, func(t *testing.T) {
			line := "Milan"
			if row.summary == "Bergamo or Siena, report v5" {
				line = "Genoa"
			}
			_, ours := genuine.Verify(attestd.Input{Evidence: evidence, Endorsements: endorsed(vcek),
				At: at(t, row.at), Demand: attestd.Recorded()})
			compare(t, row.name, ours, askReference(evidence, vcek, line, at(t, row.at), nil))
		})
	}
	chain := map[string]*forge.AMD{"Milan": authority(t, "Milan"), "Genoa": authority(t, "Genoa")}
	good := []refusedRow{
		{name: "good Milan 2", version: 2}, {name: "good Milan 3"}, {name: "good Milan 5", version: 5},
		{name: "good Genoa 3", product: "Genoa"}, {name: "good Bergamo 5", product: "Bergamo", version: 5},
	}
	for _, row := range slices.Concat(good, reportRows(), vcekRows()) {
		t.Run(row.name, func(t *testing.T) {
			if row.product == "" {
				row.product = "Milan"
			}
			if row.version == 0 {
				row.version = 3
			}
			s := newScene(t, row.product, row.version)
			if row.change != nil {
				row.change(s)
			}
			input, _ := s.build()
			if row.name == "a Milan VCEK with Genoa's ASK" || strings.Contains(s.issuer, "ASK") ||
				s.table != nil || len(input.Endorsements.Certificates) != 2 {
				return // about our endorsements, which the reference has no notion of
			}
			der := input.Endorsements.Certificates[1]
			if row.name == "a VCEK for this chip and TCB with another key" {
				der = input.Endorsements.Certificates[0]
			}
			_, ours := forged.Verify(input)
			line := "Milan"
			if s.issuer == "Genoa" {
				line = "Genoa"
			}
			compare(t, row.name, ours, askReference(input.Evidence, der, line, s.at, chain))
		})
	}
}
