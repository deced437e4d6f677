package sevsnp_test

import (
	"crypto/x509"
	"errors"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/sevsnp"
)

// TestAKnownChainDoesNotOutliveAList: a chain that was verified, with its key's table made, is refused
// from the first call on that brings a list with its ASK. What is remembered is never an answer.
func TestAKnownChainDoesNotOutliveAList(t *testing.T) {
	authority, err := forge.NewAMD(forge.AMDConfig{Line: "Milan"})
	if err != nil {
		t.Fatal(err)
	}
	report := forge.NewSNPReport("Milan", 3)
	vcek, err := authority.IssueVCEK(report.VCEKConfig("Milan-B0"))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := forge.SignSNP(report.Bytes(), vcek.Key)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := sevsnp.New(sevsnp.Config{InsecureRoots: []*x509.Certificate{authority.ARK}})
	if err != nil {
		t.Fatal(err)
	}
	verify := func(serials ...int64) error {
		list, err := authority.CRL(forge.AMDCRLConfig{Serials: serials})
		if err != nil {
			t.Fatal(err)
		}
		_, err = verifier.Verify(attestd.Input{
			Evidence: signed, At: forge.AMDTime, Demand: attestd.Recorded(),
			Endorsements: attestd.Endorsements{
				Certificates: [][]byte{vcek.DER, authority.ASK.Raw}, CRLs: [][]byte{list},
			},
		})
		return err
	}
	for range 3 {
		if err := verify(); err != nil {
			t.Fatal(err)
		}
	}
	var rejected *attestd.EvidenceError
	if err := verify(authority.ASK.SerialNumber.Int64()); !errors.As(err, &rejected) ||
		rejected.Check != "sev-snp/revoked" {
		t.Errorf("with the ASK on a new list: %v, want sev-snp/revoked", err)
	}
	if err := verify(); err != nil {
		t.Errorf("and again without it: %v", err)
	}
}
