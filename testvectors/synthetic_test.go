package testvectors_test

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/nitro"
)

// laboratory holds one authority of each shape. Its roots are known to nobody but the judges that
// are built with them.
type laboratory struct {
	t                   *testing.T
	enclaves, instances *forge.AWS
	milan, genoa, turin *forge.AMD
	mimics              *forge.AMD
	chips               *forge.TPMCA
	machine             *forge.TPM
}

// newLaboratory returns the one laboratory of this run: RSA keys of 4,096 bits take their time.
func newLaboratory(t *testing.T) laboratory {
	t.Helper()
	lab, err := theLaboratory()
	if err != nil {
		t.Fatal(err)
	}
	lab.t = t
	return lab
}

var theLaboratory = sync.OnceValues(func() (lab laboratory, err error) {
	if lab.enclaves, err = forge.NewAWS(forge.AWSOptions{}); err != nil {
		return lab, err
	}
	lab.instances, err = forge.NewAWS(forge.AWSOptions{ModuleID: forge.NitroTPMModuleID})
	if err != nil {
		return lab, err
	}
	if lab.milan, err = forge.NewAMD(forge.AMDConfig{Line: "Milan"}); err != nil {
		return lab, err
	}
	if lab.genoa, err = forge.NewAMD(forge.AMDConfig{Line: "Genoa"}); err != nil {
		return lab, err
	}
	if lab.turin, err = forge.NewAMD(forge.AMDConfig{Line: "Turin"}); err != nil {
		return lab, err
	}
	if lab.mimics, err = forge.NewAMD(forge.AMDConfig{Line: "Milan", Impostor: true}); err != nil {
		return lab, err
	}
	if lab.chips, err = forge.NewTPMCA(forge.TPMCAConfig{}); err != nil {
		return lab, err
	}
	ak, err := forge.NewTPMKey(forge.TPMKeyConfig{})
	if err != nil {
		return lab, err
	}
	ek, err := forge.NewTPMKey(forge.TPMKeyConfig{Endorsement: true, Bits: 2048})
	lab.machine = forge.NewTPM(ak, ek)
	return lab, err
})

// roots are those that a judge must be told of.
func (l laboratory) roots() []*x509.Certificate {
	return []*x509.Certificate{
		l.enclaves.Root(), l.instances.Root(), l.milan.ARK, l.genoa.ARK, l.turin.ARK, l.chips.Root,
	}
}

// document is a signed document as a vector.
func (l laboratory) document(from *forge.AWS, format attestd.Format, d forge.Document) testvectors.Vector {
	l.t.Helper()
	evidence, err := from.Document(d)
	if err != nil {
		l.t.Fatal(err)
	}
	return testvectors.Vector{
		Format: format, Evidence: evidence, At: from.At(), Nonce: d.Nonce, Synthetic: true,
	}
}

// report is a signed report as a vector, with the VCEK and the ASK beside it.
func (l laboratory) report(
	from *forge.AMD, product string, version uint32, edit func(*forge.SNPReport),
) testvectors.Vector {
	l.t.Helper()
	fields := forge.NewSNPReport(product, version)
	if edit != nil {
		edit(&fields)
	}
	config, issue, above := fields.VCEKConfig(from.Line), from.IssueVCEK, from.ASK
	if fields.KeyInfo>>2&7 == 1 {
		config, issue = fields.VLEKConfig(from.Line, "CN=some-region.example"), from.IssueVLEK
		var err error
		if above, err = from.ASVK(); err != nil {
			l.t.Fatal(err)
		}
	}
	key, err := issue(config)
	if err != nil {
		l.t.Fatal(err)
	}
	evidence, err := forge.SignSNP(fields.Bytes(), key.Key)
	if err != nil {
		l.t.Fatal(err)
	}
	return testvectors.Vector{
		Format: attestd.FormatSEVSNP, Evidence: evidence, At: forge.AMDTime, Synthetic: true,
		Endorsements: attestd.Endorsements{Certificates: [][]byte{key.DER, above.Raw}},
	}
}

// quote is a TPM's evidence as a vector: a golden boot's log, an endorsement certificate, and an
// attestation key that the operator named.
func (l laboratory) quote(certificate forge.EKCertificateConfig) testvectors.Vector {
	l.t.Helper()
	boot := forge.NewBoot(forge.BootOptions{SecureBoot: true})
	values := map[uint8][]byte{}
	for index, value := range boot.Registers(forge.LogSHA256) {
		values[uint8(index)] = value //nolint:gosec // below 24
	}
	machine := *l.machine
	machine.PCRs = []forge.TPMBank{{Algorithm: tpm2.TPMAlgSHA256, Values: values}}
	evidence, err := machine.Evidence(nil, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	evidence.EKCertificate, err = l.chips.EKCertificate(machine.EK.Signer.Public(), certificate)
	if err != nil {
		l.t.Fatal(err)
	}
	evidence.Intermediates, evidence.EventLog = l.chips.Bundle(), boot.Log()
	key, err := machine.AK.SPKI()
	if err != nil {
		l.t.Fatal(err)
	}
	digest := sha256.Sum256(key)
	return testvectors.Vector{
		Format: attestd.FormatTPM, Evidence: packed(evidence), At: forge.TPMTime, TrustedAK: &digest,
		Synthetic: true,
	}
}

// selfMade are vectors whose chains end in roots that nobody pinned: flawless, and worth nothing.
// They are asked through every entry beside the published ones.
//
// neg: 29, 30, 108
func selfMade(t *testing.T) []testvectors.Vector {
	t.Helper()
	lab := newLaboratory(t)
	list := []testvectors.Vector{
		lab.document(lab.enclaves, attestd.FormatNitro, forge.Document{}),
		lab.document(lab.instances, attestd.FormatNitroTPM, forge.Document{NitroTPM: true}),
		lab.report(lab.milan, "Milan", 3, nil),
		lab.report(lab.mimics, "Milan", 2, nil),
		lab.report(lab.genoa, "Bergamo", 5, nil),
		lab.report(lab.turin, "Turin", 5, nil),
		lab.report(lab.turin, "Turin", 5, byVLEK),
		lab.quote(forge.EKCertificateConfig{}),
	}
	checks := []attestd.CheckID{
		"nitro/root", "nitrotpm/root", "sev-snp/chain", "sev-snp/chain", "sev-snp/chain",
		"sev-snp/chain", "sev-snp/chain",
		"tpm/ek-chain",
	}
	for i := range list {
		list[i].Name = "self-made/" + string(rune('a'+i)) + "-" + string(list[i].Format)
		list[i].Expect, list[i].Check = attestd.VerdictRejected, checks[i]
	}
	return list
}

// byVLEK makes a report one that a cloud's VLEK signed.
func byVLEK(r *forge.SNPReport) { *r = r.WithVLEK() }

// TestSelfMadeChainsThroughTheLibrary judges them without and with their roots: nothing but the root
// is wrong with them.
func TestSelfMadeChainsThroughTheLibrary(t *testing.T) {
	pinned := newLibrary(t, judge.Config{})
	for _, vector := range selfMade(t) {
		t.Run(vector.Name, func(t *testing.T) {
			compare(t, vector, pinned.ask(t, vector, vector.At))
		})
	}
}

// TestSyntheticMatrix judges what no published evidence shows, under both built-in policies, by a
// judge that was told of the laboratory's roots.
func TestSyntheticMatrix(t *testing.T) {
	lab := newLaboratory(t)
	built, err := judge.New(judge.Config{InsecureRoots: lab.roots()})
	if err != nil {
		t.Fatal(err)
	}
	second := uint64(1000)
	late := uint64(lab.enclaves.At().Add(time.Hour).UnixMilli()) //nolint:gosec // after 1970
	nitro := func(d forge.Document) testvectors.Vector {
		return lab.document(lab.enclaves, attestd.FormatNitro, d)
	}
	milan := func(edit func(*forge.SNPReport)) testvectors.Vector {
		return lab.report(lab.milan, "Milan", 3, edit)
	}
	const acceptedCheck = ""
	for _, row := range []struct {
		name     string
		vector   testvectors.Vector
		recorded attestd.CheckID // what the verdict of "recorded" rests on; empty where it accepts
		// what that of "production" rests on: without reference values and CRLs it accepts nothing
		production attestd.CheckID
	}{
		{"an enclave's document", nitro(forge.Document{}), acceptedCheck, "measurement/known"},
		{"an open-ended document", nitro(forge.Document{Open: true}), acceptedCheck, "measurement/known"},
		// neg: 44
		{"a debug enclave", nitro(forge.Document{Debug: true}), "nitro/debug", "nitro/debug"},
		// neg: 39
		{"a document from the future", nitro(forge.Document{Milliseconds: &late}), "nitro/timestamp", "nitro/timestamp"},
		{"a document from 1970", nitro(forge.Document{Milliseconds: &second}), "nitro/timestamp", "nitro/timestamp"},
		{
			"an instance's document", lab.document(lab.instances, attestd.FormatNitroTPM, forge.Document{NitroTPM: true}),
			acceptedCheck, "measurement/known",
		},
		{
			"a TPM's quote that answered no credential", lab.quote(forge.EKCertificateConfig{}),
			acceptedCheck, "tpm/ak-residency",
		},
		{"a Milan report of version 2", lab.report(lab.milan, "Milan", 2, nil), acceptedCheck, "sev-snp/alias-check"},
		{"a Milan report of version 3", milan(nil), acceptedCheck, "sev-snp/crl"},
		{"a Genoa report of version 3", lab.report(lab.genoa, "Genoa", 3, nil), acceptedCheck, "sev-snp/crl"},
		{"a Genoa report of version 5", lab.report(lab.genoa, "Genoa", 5, nil), acceptedCheck, "sev-snp/crl"},
		{"a Bergamo report of version 5", lab.report(lab.genoa, "Bergamo", 5, nil), acceptedCheck, "sev-snp/crl"},
		{"a Turin report of version 5", lab.report(lab.turin, "Turin", 5, nil), acceptedCheck, "sev-snp/crl"}, // neg: 102
		{"a dense Turin report", lab.report(lab.turin, "Turin-Dense", 5, nil), acceptedCheck, "sev-snp/crl"},  // neg: 103
		// neg: 104
		{"a report that a VLEK signed", milan(byVLEK), acceptedCheck, "sev-snp/chip-id-masked"},
		{
			"a Turin report that a VLEK signed", lab.report(lab.turin, "Turin", 5, byVLEK),
			acceptedCheck, "sev-snp/chip-id-masked",
		},
		// neg: 98, 102
		{
			"a Turin report with microcode below the floor",
			lab.report(lab.turin, "Turin", 5, func(r *forge.SNPReport) { r.Reported[3] = 71 }),
			acceptedCheck, "sev-snp/tcb-floor",
		},
		// neg: 92
		{
			"a debug guest", milan(func(r *forge.SNPReport) { r.Policy |= 1 << 19 }),
			"sev-snp/guest-policy-debug", "sev-snp/guest-policy-debug",
		},
		// neg: 93
		{
			"a guest that may be migrated", milan(func(r *forge.SNPReport) { r.Policy |= 1 << 18 }),
			"sev-snp/guest-policy-migrate", "sev-snp/guest-policy-migrate",
		},
		// neg: 94
		{"VMPL 1", milan(func(r *forge.SNPReport) { r.VMPL = 1 }), acceptedCheck, "sev-snp/vmpl"},
		{
			"a report that the host asked for", milan(func(r *forge.SNPReport) { r.VMPL = 0xffffffff }),
			"sev-snp/host-requested", "sev-snp/vmpl",
		},
		// neg: 98
		{
			"one TCB component below its floor and the others far above",
			milan(func(r *forge.SNPReport) { lower(r, forge.TCB{200, 9, 23, 230}) }), acceptedCheck, "sev-snp/tcb-floor",
		},
		// neg: 111
		{
			"a platform without a completed alias check",
			milan(func(r *forge.SNPReport) { r.PlatformInfo &^= 1 << 5 }), acceptedCheck, "sev-snp/alias-check",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			for policyName, want := range map[string]attestd.CheckID{
				"recorded": row.recorded, "production": row.production,
			} {
				policy, err := appraisal.Builtin(policyName)
				if err != nil {
					t.Fatal(err)
				}
				request := library{policy: policy}.request(t, row.vector, row.vector.At)
				verdict, err := built.Judge(request)
				if err != nil {
					t.Fatal(err)
				}
				if got := decisive(verdict); got != want || (want == "") != (verdict.Verdict == attestd.VerdictAccepted) {
					t.Errorf("%s: %v by %q, want %q; %+v", policyName, verdict.Verdict, got, want, verdict.Reasons)
				}
				if verdict.Format != row.vector.Format {
					t.Errorf("%s: format %q, want %q", policyName, verdict.Format, row.vector.Format)
				}
				rootsAreSaid(t, verdict)
			}
		})
	}
}

// lower sets every TCB of a report.
func lower(r *forge.SNPReport, tcb forge.TCB) {
	r.Current, r.Reported, r.Committed, r.Launch = tcb, tcb, tcb, tcb
}

// rootsAreSaid wants every verdict on claims under an insecure root to say so and to score for it.
func rootsAreSaid(t *testing.T, verdict attestd.Appraisal) {
	t.Helper()
	if string(verdict.Claims) == "null" {
		return
	}
	said := slices.ContainsFunc(verdict.Reasons, func(r attestd.Reason) bool { return r.Check == "roots/pinned" })
	if !said || verdict.Risk.Int() < appraisal.RootsFloor {
		t.Errorf("risk %v and no word of roots that were loaded by hand: %+v", verdict.Risk, verdict.Reasons)
	}
}

// TestFormatsDoNotStandInForEachOther names another format than the evidence has.
//
// neg: 51
func TestFormatsDoNotStandInForEachOther(t *testing.T) {
	lab := newLaboratory(t)
	built, err := judge.New(judge.Config{InsecureRoots: lab.roots()})
	if err != nil {
		t.Fatal(err)
	}
	for _, vector := range []testvectors.Vector{
		lab.document(lab.enclaves, attestd.FormatNitro, forge.Document{}),
		lab.document(lab.instances, attestd.FormatNitroTPM, forge.Document{NitroTPM: true}),
		lab.report(lab.milan, "Milan", 3, nil),
	} {
		for _, format := range []attestd.Format{attestd.FormatNitro, attestd.FormatNitroTPM, attestd.FormatSEVSNP} {
			if format == vector.Format {
				continue
			}
			t.Run(string(vector.Format)+" evidence as "+string(format), func(t *testing.T) {
				request := newLibrary(t, judge.Config{}).request(t, vector, vector.At)
				request.Format = format
				verdict, err := built.Judge(request)
				if err != nil {
					t.Fatal(err)
				}
				if verdict.Verdict != attestd.VerdictRejected {
					t.Errorf("%v: %+v", verdict.Verdict, verdict.Reasons)
				}
			})
		}
	}
}

// TestValidEvidenceOfSomethingElse judges flawless documents against reference values that name
// other software, or a register that the document leaves out: authentic is not enough.
//
// neg: 45, 54
func TestValidEvidenceOfSomethingElse(t *testing.T) {
	lab := newLaboratory(t)
	built, err := judge.New(judge.Config{InsecureRoots: lab.roots()})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := appraisal.Builtin("production")
	if err != nil {
		t.Fatal(err)
	}
	ours := lab.document(lab.enclaves, attestd.FormatNitro, forge.Document{})
	other := lab.document(lab.enclaves, attestd.FormatNitro, forge.Document{
		PCRs: map[uint64][]byte{0: slices.Repeat([]byte{7}, 48)},
	})
	verifier, err := nitro.New(nitro.Config{InsecureRoots: lab.roots()[:1]})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := verifier.Verify(attestd.Input{
		Evidence: ours.Evidence, At: ours.At, Demand: attestd.Recorded(),
	})
	if err != nil {
		t.Fatal(err)
	}
	set, err := measurements.FromClaims("ours", claims)
	if err != nil {
		t.Fatal(err)
	}
	set.Values[0].State = measurements.StateActive
	index, err := measurements.NewIndex(set)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name   string
		vector testvectors.Vector
		known  bool
	}{
		{"the software that is expected", ours, true},
		{"another tenant's enclave, valid in every way", other, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			request := library{policy: policy}.request(t, row.vector, row.vector.At)
			request.References = index
			verdict, err := built.Judge(request)
			if err != nil {
				t.Fatal(err)
			}
			refusedIt := decisive(verdict) == "measurement/known"
			if refusedIt == row.known || !row.known && verdict.Verdict != attestd.VerdictRejected {
				t.Errorf("%v by %q: %+v", verdict.Verdict, decisive(verdict), verdict.Reasons)
			}
		})
	}
}
