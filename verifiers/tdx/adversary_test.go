package tdx_test

import (
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

// resigned returns other certificates for the key that signs TCB information: an authority that
// renews one may keep the key.
func resigned(t testing.TB, authority *forge.Intel, edits ...func(*x509.Certificate)) [][]byte {
	t.Helper()
	out := make([][]byte, 0, len(edits))
	for i, edit := range edits {
		serial := int64(50 + i)
		out = append(out, must(authority.SigningAgain(func(template *x509.Certificate) {
			template.SerialNumber = big.NewInt(serial)
			edit(template)
		}))(t))
	}
	return out
}

// TestOneKeyWithTwoCertificates: neither the order in which certificates are given nor what was
// asked before says which of them counts. Any that is valid will do, and none of those may be
// revoked.
func TestOneKeyWithTwoCertificates(t *testing.T) {
	authority := must(intel())(t)
	certificates := resigned(t, authority,
		func(c *x509.Certificate) { c.NotAfter = forge.IntelTime.AddDate(0, 0, -10) },
		func(*x509.Certificate) {})
	expired, second := certificates[0], certificates[1]
	first := authority.Signing.Raw
	v := forgedVerifier(t)
	input := newJudged(t, 4).input(t)
	with := func(signers ...[]byte) attestd.Input {
		out := input
		out.Endorsements.Certificates = signers
		return out
	}
	fresh := map[string]string{"collateral": "fresh", "crl": "fresh", "tcb_status": "UpToDate"}
	// Who sends an expired certificate along can neither fail what is good nor make it cost more
	// for all that come behind.
	mustReject(t, v, with(expired), "tdx/tcb-signer", attestd.ClassCertTime)
	for _, signers := range [][][]byte{
		{expired, first}, {first, expired}, {second, first, expired}, {first}, {second},
	} {
		facts(t, mustVerify(t, v, with(signers...)), fresh)
		before := v.SignaturesVerified()
		facts(t, mustVerify(t, v, with(signers...)), fresh)
		if got := v.SignaturesVerified() - before; got != 1 {
			t.Errorf("%d verifications when warm, want 1", got)
		}
	}
	revoking := list(t, authority, forge.IntelCRLConfig{Serials: []int64{forge.SerialIntelSigning}})
	input.Endorsements.CRLs = append(input.Endorsements.CRLs, revoking)
	for _, signers := range [][][]byte{{first, second}, {second, first}, {expired, second, first}} {
		for range 2 {
			mustReject(t, v, with(signers...), "tdx/revoked", attestd.ClassRevokedCert)
		}
	}
}

// TestSignersAreCountedWarmAndCold: a fifth certificate is one too many, also where four are
// remembered.
func TestSignersAreCountedWarmAndCold(t *testing.T) {
	authority := must(intel())(t)
	same := func(*x509.Certificate) {}
	more := resigned(t, authority, same, same, same, same)
	v := forgedVerifier(t)
	input := newJudged(t, 4).input(t)
	first := authority.Signing.Raw
	input.Endorsements.Certificates = append([][]byte{first, first}, more[:3]...)
	mustVerify(t, v, input) // one twice is one
	input.Endorsements.Certificates = append(input.Endorsements.Certificates, more[3])
	for range 2 {
		mustReject(t, v, input, "tdx/tcb-signer", attestd.ClassTooLarge)
	}
}

// TestADocumentOfTheFutureHidesNoRollback: the floor holds for the document that is used, not only
// for the newest one that lies there. neg: 130
func TestADocumentOfTheFutureHidesNoRollback(t *testing.T) {
	v := forgedVerifier(t)
	j := newJudged(t, 4)
	input := j.input(t)
	nonce(t, &input)
	ahead := j.tcb
	ahead.Evaluation, ahead.Issued = 19, forge.IntelTime.AddDate(0, 0, 1)
	input.Endorsements.Documents = append(input.Endorsements.Documents,
		must(j.authority.TCBInfo(ahead))(t))
	facts(t, mustVerify(t, v, input), map[string]string{"tcb_evaluation": "18"})
	input.Anchors.DocumentFloors = []attestd.DocumentFloor{{
		Subject: "tcb-info/TDX/b0c06f000000", Evaluation: 19,
		IssuedAt: forge.IntelTime.Add(-time.Hour),
	}}
	refused := mustReject(t, v, input, "tdx/tcb-documents", attestd.ClassCollateralInvalid)
	if !strings.Contains(refused.Got, "number 18") {
		t.Errorf("got %q", refused.Got)
	}
}

// TestWhatRunsNowCounts: the module that keeps the host out is the one that runs, whoever launched
// the TD. neg: 128
func TestWhatRunsNowCounts(t *testing.T) {
	v := forgedVerifier(t)
	running := func(svn ...byte) *judged {
		j := newJudged(t, 5)
		copy(j.quote.TEETCBSVN2[:], svn)
		return j
	}
	mustReject(t, v, running(9, 7, 3).input(t), "tdx/module-identity", attestd.ClassPlatform)
	mustReject(t, v, running(3, 1, 3).input(t), "tdx/tcb-level", attestd.ClassTCB)
	mustReject(t, v, running(6, 1, 1).input(t), "tdx/tcb-level", attestd.ClassTCB)
	j := running(4, 1, 3)
	j.tcb.Modules[1].Levels[1].Status = "Revoked"
	refused := mustReject(t, v, j.input(t), "tdx/tcb-revoked", attestd.ClassTCB)
	if !strings.Contains(refused.Got, "runs now") {
		t.Errorf("got %q", refused.Got)
	}
	facts(t, mustVerify(t, v, running(4, 1, 3).input(t)), map[string]string{
		"tcb_status": "OutOfDate", "tcb_status_module": "OutOfDate", "tcb_out_of_date": "true",
		"tcb_behind_days": "200", "advisories": "INTEL-SA-01036 INTEL-SA-01099",
		"tcb_relaunch_advised": "false",
	})
	facts(t, mustVerify(t, v, running(6, 1, 2).input(t)), map[string]string{
		"tcb_status": "OutOfDate", "tcb_status_platform": "OutOfDate", "tcb_behind_days": "200",
	})
	j = running(3, 3, 3)
	facts(t, mustVerify(t, v, j.input(t)), map[string]string{"tcb_status": "UpToDate"})
}

// TestModulesAreCalledAsIntelDoes: in hex, so that a floor for TDX_10 is none for TDX_0A.
func TestModulesAreCalledAsIntelDoes(t *testing.T) {
	j := newJudged(t, 4)
	j.quote.TEETCBSVN[1] = 10
	j.tcb.Modules = append(j.tcb.Modules,
		forge.IntelModule{ID: "TDX_0A", Levels: j.tcb.Modules[0].Levels})
	if got := mustVerify(t, forgedVerifier(t), j.input(t)).Product(); got != "TDX_0A" {
		t.Errorf("product %q, want TDX_0A", got)
	}
}

// TestDocumentsThatWereSeenAreNotOfTheFuture: stored evidence is judged again as of its own time when
// newer documents came. That they exist is known by their floor, so that no clock is wrong.
func TestDocumentsThatWereSeenAreNotOfTheFuture(t *testing.T) {
	v := forgedVerifier(t)
	j := newJudged(t, 4)
	old := j.input(t).Endorsements.Documents[0]
	j.tcb.Evaluation, j.tcb.Issued = 19, forge.IntelTime.AddDate(0, 0, 1)
	j.tcb.Levels[0].Status = "OutOfDate"
	input := j.input(t)
	nonce(t, &input)
	mustReject(t, v, input, "tdx/tcb-documents", attestd.ClassCollateralInvalid)
	seen := func(issued time.Time) {
		input.Anchors.DocumentFloors = []attestd.DocumentFloor{
			{Subject: "enclave-identity/TD_QE", Evaluation: 18, IssuedAt: issued.AddDate(0, 0, -3)},
			{Subject: "tcb-info/TDX/b0c06f000000", Evaluation: 19, IssuedAt: issued},
		}
	}
	seen(j.tcb.Issued.Add(-time.Second))
	mustReject(t, v, input, "tdx/tcb-documents", attestd.ClassCollateralInvalid)
	seen(j.tcb.Issued)
	for range 2 {
		facts(t, mustVerify(t, v, input), map[string]string{
			"tcb_status": "OutOfDate", "tcb_evaluation": "18", "collateral": "fresh",
		})
		// What is known now decides, also beside what was known then.
		input.Endorsements.Documents = append(input.Endorsements.Documents, old)
	}
}
