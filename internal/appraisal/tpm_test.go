package appraisal_test

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/claims"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tpm"
)

// host is a machine with a TPM: keys, an EK certificate and the authority that signed it.
type host struct {
	ak, ek      *forge.TPMKey
	authority   *forge.TPMCA
	certificate []byte
	akSum       [32]byte
	ekSum       [32]byte
}

var oneHost = sync.OnceValues(func() (host, error) {
	var made host
	var err error
	if made.ak, err = forge.NewTPMKey(forge.TPMKeyConfig{}); err != nil {
		return made, err
	}
	if made.ek, err = forge.NewTPMKey(forge.TPMKeyConfig{Endorsement: true}); err != nil {
		return made, err
	}
	if made.authority, err = forge.NewTPMCA(forge.TPMCAConfig{}); err != nil {
		return made, err
	}
	made.certificate, err = made.authority.EKCertificate(made.ek.Signer.Public(), forge.EKCertificateConfig{})
	if err != nil {
		return made, err
	}
	for key, sum := range map[*forge.TPMKey]*[32]byte{made.ak: &made.akSum, made.ek: &made.ekSum} {
		spki, err := key.SPKI()
		if err != nil {
			return made, err
		}
		*sum = sha256.Sum256(spki)
	}
	return made, nil
})

// tpmTime is when the machine's evidence is judged.
var tpmTime = time.Date(2026, time.June, 1, 12, 0, 0, 0, time.UTC)

// booted is the evidence of a boot, with its log, after its attestation key was activated. Anchors
// are added to the activation; edit may be nil.
func booted(
	t testing.TB, boot *forge.Boot, anchors attestd.Anchors, edit func(*forge.TPM),
) appraisal.Input {
	t.Helper()
	machine := must[host](t)(oneHost())
	device := forge.NewTPM(machine.ak, machine.ek)
	for index, value := range boot.Registers(forge.LogSHA256) {
		if index < 8 {
			device.PCRs[0].Values[uint8(index)] = value //nolint:gosec // below 8
		}
	}
	if edit != nil {
		edit(device)
	}
	parts, err := device.Evidence([]byte("extra"), nil)
	if err != nil {
		t.Fatal(err)
	}
	parts.EKCertificate = machine.certificate
	parts.Intermediates = machine.authority.Bundle()
	parts.EventLog = boot.Log()
	evidence := must[[]byte](t)(parts.Marshal())
	verifier := must[*tpm.Verifier](t)(tpm.New(tpm.Config{
		InsecureRoots: []*x509.Certificate{machine.authority.Root},
	}))
	verified, err := verifier.Verify(attestd.Input{
		Evidence: evidence, At: tpmTime, Demand: attestd.Recorded(), Anchors: anchors,
	})
	return appraisal.Input{
		Format: attestd.FormatTPM, Claims: verified, Err: err, At: tpmTime,
		EvidenceDigest: sha256.Sum256(evidence), Specs: verifier.Checks(),
	}
}

// activated are anchors of a machine that answered a credential.
func activated(t testing.TB) attestd.Anchors {
	t.Helper()
	machine := must[host](t)(oneHost())
	return attestd.Anchors{Activation: &attestd.Activation{
		AKName: machine.ak.Name, EK: machine.ekSum, Earlier: true,
	}}
}

func TestLaboratoryAcceptsASoftwareTPMAtMediumRisk(t *testing.T) {
	boot := forge.NewBoot(forge.BootOptions{SecureBoot: true})
	input := booted(t, boot, activated(t), nil)
	input.References = known(t, input, measurements.StateActive)
	verdict := under(builtin(t, appraisal.Laboratory), input)
	if verdict.Verdict != attestd.VerdictAccepted || verdict.Risk.Int() != appraisal.RootsFloor ||
		verdict.Tier != attestd.TierMedium {
		t.Errorf("got %v, risk %v: %+v", verdict.Verdict, verdict.Risk, verdict.Reasons)
	}
	want := attestd.TrustVector{InstanceIdentity: 97, Executables: 3, Configuration: 32}
	if verdict.Trust != want {
		t.Errorf("got %+v, want %+v", verdict.Trust, want)
	}
	verdict = under(builtin(t, appraisal.Production), input)
	if verdict.Verdict != attestd.VerdictRejected || !failed(verdict, "tpm/protection") {
		t.Errorf("production: got %v: %+v", verdict.Verdict, verdict.Reasons)
	}
}

// TestLaboratoryStaysBelowRejection adds up what it scores of a TPM: none of it is a reason why a
// laboratory's machine would be rejected.
func TestLaboratoryStaysBelowRejection(t *testing.T) {
	risk, tier := appraisal.Score(appraisal.WorstScored(builtin(t, appraisal.Laboratory), attestd.FormatTPM))
	if risk.Int() >= 70 || tier.Verdict() != attestd.VerdictAccepted {
		t.Errorf("the worst case is %v, want less than 70", risk)
	}
}

func TestAnInventoryMakesAMachineOurs(t *testing.T) {
	machine := must[host](t)(oneHost())
	anchors := activated(t)
	anchors.EndorsementKeys = [][32]byte{machine.ekSum}
	boot := forge.NewBoot(forge.BootOptions{SecureBoot: true})
	policy := builtin(t, appraisal.Laboratory)
	verdict := under(policy, booted(t, boot, anchors, nil))
	if failed(verdict, appraisal.CheckOwnership) || verdict.Trust.InstanceIdentity != 2 {
		t.Errorf("got %+v, instance identity %d", verdict.Reasons, verdict.Trust.InstanceIdentity)
	}
	// An endorsement key that did not answer for this attestation key says nothing about it.
	anchors.Activation, anchors.AttestationKeys = nil, [][32]byte{machine.akSum}
	verdict = under(builtin(t, appraisal.Recorded), booted(t, boot, anchors, nil))
	if got := effectOf(verdict, "tpm/ak-residency"); got != "scored" {
		t.Errorf("residency without an activation: %s", got)
	}
	verdict = under(policy, booted(t, boot, anchors, nil))
	if !failed(verdict, appraisal.CheckOwnership) || verdict.Verdict != attestd.VerdictRejected {
		t.Errorf("an inventory without an activation: got %v: %+v", verdict.Verdict, verdict.Reasons)
	}
	// The operator named the attestation key: it is known, if not to live anywhere.
	if verdict.Trust.InstanceIdentity == 0 {
		t.Errorf("got %+v", verdict.Trust)
	}
}

func TestAVerdictNamesTheEventThatDiffers(t *testing.T) {
	golden := booted(t, forge.NewBoot(forge.BootOptions{SecureBoot: true}), activated(t), nil)
	boot := forge.NewBoot(forge.BootOptions{SecureBoot: true})
	boot.Step("grub").Measured = []byte("another boot loader")
	changed := booted(t, boot, activated(t), nil)
	if golden.Err != nil || changed.Err != nil {
		t.Fatal(golden.Err, changed.Err)
	}
	for _, rules := range []bool{false, true} {
		set := must[*measurements.Set](t)(measurements.Measure("web", golden.Claims,
			measurements.Options{Rules: rules}))
		set.Values[0].State = measurements.StateActive
		index := must[*measurements.Index](t)(measurements.NewIndex(set))
		golden.References, changed.References = index, index
		verdict := under(builtin(t, appraisal.Laboratory), golden)
		if failed(verdict, appraisal.CheckMeasurement) {
			t.Errorf("rules %t: the golden boot: %+v", rules, verdict.Reasons)
		}
		verdict = under(builtin(t, appraisal.Laboratory), changed)
		for _, check := range verdict.Checks {
			if check.ID != appraisal.CheckMeasurement {
				continue
			}
			digest := fmt.Sprintf("%x", sha256.Sum256([]byte("another boot loader")))[:8]
			if !strings.HasPrefix(check.Got, "PCR4 event ") || !strings.Contains(check.Got, "got "+digest+"..") ||
				!strings.Contains(check.Want, "closest web / measured") || len(check.Got) > 88 ||
				!strings.Contains(check.Hint, "attestd ref diff") {
				t.Errorf("rules %t: got %q, want %q, hint %q", rules, check.Got, check.Want, check.Hint)
			}
			t.Log(check.Got, "|", check.Want)
		}
		if verdict.Verdict != attestd.VerdictRejected || verdict.Trust.Executables != 33 {
			t.Errorf("rules %t: got %v, %+v", rules, verdict.Verdict, verdict.Trust)
		}
	}
}

// neg: 61
func TestRegistersThatWereLeftOutAreNamed(t *testing.T) {
	boot := forge.NewBoot(forge.BootOptions{SecureBoot: true})
	input := booted(t, boot, activated(t), func(device *forge.TPM) {
		bank := device.PCRs[0].Values
		delete(bank, 3)
		bank[10], bank[23] = make([]byte, 32), make([]byte, 32)
	})
	for _, name := range []string{appraisal.Production, appraisal.Laboratory} {
		verdict := under(builtin(t, name), input)
		if !failed(verdict, "tpm/pcrs-quoted") || effectOf(verdict, "tpm/pcrs-quoted") != "rejects" {
			t.Errorf("%s: %+v", name, verdict.Reasons)
		}
		for _, check := range verdict.Checks {
			if check.ID == "tpm/pcrs-quoted" && (check.Got != "0-2, 4-7, 10, 23" || check.Want != "0-7") {
				t.Errorf("got %q, want %q", check.Got, check.Want)
			}
		}
	}
}

func TestSetsThatMustCover(t *testing.T) {
	input := booted(t, forge.NewBoot(forge.BootOptions{}), activated(t), func(device *forge.TPM) {
		delete(device.PCRs[0].Values, 8)
	})
	for want, met := range map[string]bool{
		"[0]": true, "[0, 7]": true, "[0, 1, 2, 3, 4, 5, 6, 7]": true, "[8]": false, "[0, 63]": false,
	} {
		policy := demanding(t, input, map[string]string{
			"pcrs-quoted": "{want: " + want + ", otherwise: reject}",
		})
		verdict := under(policy, input)
		made := slices.ContainsFunc(verdict.Checks, func(c attestd.Check) bool {
			return c.ID == "tpm/pcrs-quoted"
		})
		if got := !failed(verdict, "tpm/pcrs-quoted"); got != met || !made {
			t.Errorf("%s: got %t, want %t (made: %t)", want, got, met, made)
		}
	}
	for rule, want := range map[string]string{
		"{want: [64], otherwise: reject}":    "got 64, want 0 to 63",
		"{want: [0, 0], otherwise: reject}":  "stands twice",
		"{want: [], otherwise: reject}":      "is empty",
		"{want: 0, otherwise: reject}":       "want a list",
		"{want: [all], otherwise: reject}":   "want a whole number",
		"{want: [\"0\"], otherwise: reject}": "want a whole number",
	} {
		_, err := appraisal.ParsePolicy("p.yaml",
			only(input.Specs, attestd.FormatTPM, map[string]string{"pcrs-quoted": rule}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", rule, err, want)
		}
	}
}

// stated are claims of a TPM that state facts as a verifier would, of hardware that cannot be forged.
func stated(facts ...attestd.Fact) appraisal.Input {
	digest := sha256.Sum256([]byte("evidence"))
	return appraisal.Input{
		Format: attestd.FormatTPM, At: tpmTime, EvidenceDigest: digest,
		Claims: attestd.NewClaims(claims.Grant(), attestd.ClaimValues{
			Format: attestd.FormatTPM, EvidenceDigest: digest, Facts: facts,
			Checks: []attestd.Check{{ID: "tpm/signature", Result: attestd.ResultPass}},
		}),
	}
}

func TestVectorOfATPM(t *testing.T) {
	fact := func(name, value string) attestd.Fact {
		return attestd.Fact{Name: name, Value: attestd.Text(value)}
	}
	for _, row := range []struct {
		name  string
		facts []attestd.Fact
		want  attestd.TrustVector
	}{
		{"hardware that is nobody's",
			[]attestd.Fact{fact("protection", "hardware"), fact("ak_residency", "activated")},
			attestd.TrustVector{InstanceIdentity: 97, Hardware: 2}},
		{"hardware of the inventory", []attestd.Fact{fact("protection", "hardware"),
			fact("ak_residency", "activated"), fact("ownership", "inventory")},
			attestd.TrustVector{InstanceIdentity: 2, Hardware: 2}},
		{"a virtual TPM", []attestd.Fact{fact("protection", "vtpm"), fact("ak_residency", "certified")},
			attestd.TrustVector{InstanceIdentity: 97}},
		{"a key that the operator named",
			[]attestd.Fact{fact("protection", "unknown"), fact("ak_residency", "none")},
			attestd.TrustVector{InstanceIdentity: 2}},
		{"nothing that is known", nil, attestd.TrustVector{InstanceIdentity: 97}},
		{"an owner who is none", []attestd.Fact{fact("ownership", "mine")},
			attestd.TrustVector{InstanceIdentity: 97}},
		{"an owner that is not a text", []attestd.Fact{{Name: "ownership", Value: attestd.Bool(true)}},
			attestd.TrustVector{InstanceIdentity: 97}},
	} {
		input := stated(row.facts...)
		rules := map[string]string{"ownership/known": "{want: [inventory], otherwise: 40}"}
		policy := must[*appraisal.Policy](t)(appraisal.ParsePolicy("only.yaml",
			only(tpmSpecs(t), attestd.FormatTPM, rules)))
		if got := under(policy, input).Trust; got != row.want {
			t.Errorf("%s: got %+v, want %+v", row.name, got, row.want)
		}
	}
}

func tpmSpecs(t testing.TB) []attestd.CheckSpec {
	t.Helper()
	return must[*tpm.Verifier](t)(tpm.New(tpm.Config{})).Checks()
}
