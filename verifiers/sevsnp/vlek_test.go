package sevsnp_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/sevsnp"
)

// ownTable puts everything that judges a VLEK's report into its table, as a host may.
func ownTable(s *scene, line string) {
	s.cloud = "CN=some-region.example"
	s.given = func(vlek forge.VCEK, asvk []byte) [][]byte {
		table, err := forge.SNPTable(
			forge.SNPTableEntry{GUID: forge.GUIDVLEK, Data: vlek.DER},
			forge.SNPTableEntry{GUID: forge.GUIDASK, Data: asvk},
			forge.SNPTableEntry{GUID: forge.GUIDARK, Data: authority(s.t, line).ARK.Raw},
		)
		if err != nil {
			s.t.Fatal(err)
		}
		s.table = &table
		return nil
	}
}

// TestReportsOfVLEKs verifies them on every line, with the certificates beside the evidence and in
// its table. neg: 104
func TestReportsOfVLEKs(t *testing.T) {
	for _, product := range []string{"Milan", "Genoa", "Bergamo", "Turin", "Turin-Dense"} {
		for _, inTable := range []bool{false, true} {
			s := newScene(t, product, 5)
			s.cloud = "CN=some-region.example"
			if inTable {
				ownTable(s, s.issuer)
			}
			v := forgedVerifier(t)
			input, _ := s.build()
			before := v.SignaturesVerified()
			claims, err := v.Verify(input)
			if err != nil {
				t.Errorf("%s, in table %v: %v", product, inTable, err)
				continue
			}
			if got := v.SignaturesVerified() - before; got != 4 {
				t.Errorf("%s: %d signatures, want 4: ASVK, VLEK by AMD's, VLEK, report", product, got)
			}
			if got := checkOf(t, claims, "sev-snp/chain"); got.Got != "VLEK, ASVK, and an ARK that was loaded by hand" {
				t.Errorf("chain: %q", got.Got)
			}
			chip := checkOf(t, claims, "sev-snp/vcek-chip-id")
			if chip.Result != attestd.ResultNotApplicable {
				t.Errorf("the chip of a VLEK's report counts as %v", chip.Result)
			}
		}
	}
}

// TestATableOfTheOtherKind wants the same answer to the other kind's certificate in the table as
// beside the evidence: one bit of SIGNING_KEY must not turn a rejection into "could not decide".
// neg: 104
func TestATableOfTheOtherKind(t *testing.T) {
	milan := authority(t, "Milan")
	byChip, byCloud := newScene(t, "Milan", 5), newScene(t, "Milan", 5)
	withTable(byChip, func(v forge.VCEK) []forge.SNPTableEntry { return chainEntries(v, milan) })
	ownTable(byCloud, "Milan")
	for name, s := range map[string]*scene{"a VCEK": byChip, "a VLEK": byCloud} {
		input, _ := s.build()
		mustVerify(t, forgedVerifier(t), input)
		input.Evidence = bytes.Clone(input.Evidence)
		input.Evidence[0x48] ^= 1 << 2
		_, err := forgedVerifier(t).Verify(input)
		var refused *attestd.EvidenceError
		if !errors.As(err, &refused) || refused.Check != "sev-snp/chain" {
			t.Errorf("%s where the other signed: %v, want a rejection by sev-snp/chain", name, err)
		}
	}
}

func checkOf(t *testing.T, claims *attestd.Claims, id attestd.CheckID) attestd.Check {
	t.Helper()
	for _, check := range claims.Checks() {
		if check.ID == id {
			return check
		}
	}
	t.Fatalf("check %s did not run", id)
	return attestd.Check{}
}

// TestKnownKeysDoNotChangeKind verifies a VLEK and a VCEK first, so that both are remembered, and
// then asks for each in the other's place.
func TestKnownKeysDoNotChangeKind(t *testing.T) {
	v := forgedVerifier(t)
	one, other := newScene(t, "Milan", 5), newScene(t, "Milan", 5)
	other.cloud = "CN=some-region.example"
	byChip, _ := one.build()
	byCloud, _ := other.build()
	mustVerify(t, v, byChip)
	mustVerify(t, v, byCloud)
	for _, swapped := range []attestd.Input{
		{Evidence: byChip.Evidence, Endorsements: byCloud.Endorsements},
		{Evidence: byCloud.Evidence, Endorsements: byChip.Endorsements},
	} {
		swapped.At, swapped.Demand = forge.AMDTime, attestd.Recorded()
		claims, err := v.Verify(swapped)
		wantFailure(t, claims, err, "sev-snp/chain", attestd.ClassChain)
	}
}

// TestGenuineTableBesideAVLEK takes AMD's own certificates: hosts load the ASK that the table has a
// place for, and a VLEK's chain has the ASVK.
func TestGenuineTableBesideAVLEK(t *testing.T) {
	report, vlek := published(t, "trustee__test-vlek-report.bin"), published(t, "trustee__test-vlek.der")
	if report == nil || vlek == nil {
		t.Log("not available")
		return
	}
	above, err := sevsnp.PinnedIntermediates()
	if err != nil {
		t.Fatal(err)
	}
	for _, cert := range above {
		table, err := forge.SNPTable(
			forge.SNPTableEntry{GUID: forge.GUIDVLEK, Data: vlek},
			forge.SNPTableEntry{GUID: forge.GUIDASK, Data: cert.Raw},
		)
		if err != nil {
			t.Fatal(err)
		}
		claims, err := newVerifier(t).Verify(attestd.Input{
			Evidence: append(append([]byte(nil), report...), table...),
			At:       at(t, "2025-06-01T00:00:00Z"), Demand: attestd.Recorded(),
		})
		if ofMilan(cert) {
			if err != nil {
				t.Errorf("%s: %v", cert.Subject.CommonName, err)
			}
			continue
		}
		wantFailure(t, claims, err, "sev-snp/chain", attestd.ClassChain)
	}
}

func ofMilan(cert *x509.Certificate) bool { return cert.Issuer.CommonName == "ARK-Milan" }
