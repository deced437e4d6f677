package testvectors_test

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/testvectors/forge"
)

// stricter is the policy "recorded" with single rules replaced.
func stricter(t *testing.T, rules ...string) *appraisal.Policy {
	t.Helper()
	recorded, err := appraisal.Builtin("recorded")
	if err != nil {
		t.Fatal(err)
	}
	text := string(recorded.Document())
	for _, rule := range rules {
		name, _, _ := strings.Cut(rule, ":")
		before, rest, found := strings.Cut(text, "    "+name+": ")
		_, after, _ := strings.Cut(rest, "\n")
		if !found {
			t.Fatalf("the policy has no %q", name)
		}
		text = before + "    " + rule + "\n" + after
	}
	policy, err := appraisal.ParsePolicy("stricter", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// TestReportsThatAPolicyOrTheLayoutRefuses judges reports that an authority of the laboratory really
// signed, so that nothing but the named field is wrong with them.
//
// neg: 97, 99, 101, 103, 104, 107, 109, 110, 111, 112, 116
func TestReportsThatAPolicyOrTheLayoutRefuses(t *testing.T) {
	lab := newLaboratory(t)
	built, err := judge.New(judge.Config{InsecureRoots: lab.roots()})
	if err != nil {
		t.Fatal(err)
	}
	production, err := appraisal.Builtin("production")
	if err != nil {
		t.Fatal(err)
	}
	recorded := stricter(t)
	digest, chip := strings.Repeat("ab", 48), forge.NewSNPReport("Milan", 3).ChipID
	for _, row := range []struct {
		name    string
		version uint32
		edit    func(*forge.SNPReport)
		policy  *appraisal.Policy
		want    attestd.CheckID
	}{
		{"a masked chip id", 3, func(r *forge.SNPReport) { r.ChipID, r.KeyInfo = [64]byte{}, 1<<1 }, production, "sev-snp/chip-id-masked"},
		{"a committed TCB above the current one", 3, func(r *forge.SNPReport) { r.Committed[2]++ }, recorded, "sev-snp/tcb-order"},
		{"a reported TCB above the current one", 3, func(r *forge.SNPReport) { r.Reported[3]++ }, recorded, "sev-snp/tcb-order"},
		{"version 0", 0, nil, recorded, "sev-snp/report-version"},
		{"version 1", 1, nil, recorded, "sev-snp/report-version"},
		{"version 6", 6, nil, recorded, "sev-snp/report-version"},
		{"version 4294967295", 0xffffffff, nil, recorded, "sev-snp/report-version"},
		{"CPUID zero in version 3", 3, func(r *forge.SNPReport) { r.CPUID = [3]byte{} }, recorded, "sev-snp/product"},
		{"a product that nobody knows", 3, func(r *forge.SNPReport) { r.CPUID = [3]byte{0x1a, 0x50, 0} }, recorded, "sev-snp/product"},
		{"no signing key at all", 3, func(r *forge.SNPReport) { r.KeyInfo = 7 << 2 }, recorded, "sev-snp/signing-key"},
		{
			"a cloud that the policy does not name", 3, byVLEK,
			stricter(t, "csp: {want: [CN=other-region.example], otherwise: reject}"), "sev-snp/csp",
		},
		{
			"a product that the policy does not name", 3, nil,
			stricter(t, "product-line: {want: [Genoa, Turin], otherwise: reject}"), "sev-snp/product-line",
		},
		{
			"a product whose root seed can be extracted", 3, nil,
			stricter(t, "product-exposed: {deny: [Milan], otherwise: reject}"), "sev-snp/product-exposed",
		},
		{
			"a chip that the policy denies", 3, nil, stricter(t, "chip-denied: {deny: [\""+
				hex.EncodeToString(chip[:])+"\"], otherwise: reject}"), "sev-snp/chip-denied",
		},
		{
			"a host that is not proof against IOMMU writes", 5, nil,
			stricter(t, "iommu-write-safe: {want: true, otherwise: reject}"), "sev-snp/iommu-write-safe",
		},
		{
			"a mitigation whose bit is not set", 5, nil,
			stricter(t, "current-mit-vector: {want: [0, 2], otherwise: reject}"), "sev-snp/current-mit-vector",
		},
		{
			"no ID block where one is demanded", 3, nil,
			stricter(t, "id-key-digest: {want: [\""+digest+"\"], otherwise: reject}"), "sev-snp/id-key-digest",
		},
		{
			"no author key where one is demanded", 3, nil,
			stricter(t, "author-key-enabled: {want: true, otherwise: reject}"), "sev-snp/author-key-enabled",
		},
		{
			"other host data than expected", 3, func(r *forge.SNPReport) { r.HostData[31] = 1 },
			stricter(t, "host-data: {want: [\""+strings.Repeat("00", 31)+"02\"], otherwise: reject}"), "sev-snp/host-data",
		},
		{
			"a mitigation vector that the version has no field for", 3, nil,
			stricter(t, "launch-mit-vector: {want: [0], otherwise: reject}"), "sev-snp/launch-mit-vector",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			expectRejection(t, built, lab.report(lab.milan, "Milan", row.version, row.edit), row.policy, row.want)
		})
	}
}

func expectRejection(
	t *testing.T, built *judge.Judge, vector testvectors.Vector, policy *appraisal.Policy, want attestd.CheckID,
) {
	t.Helper()
	request := library{policy: policy}.request(t, vector, vector.At)
	request.Format = attestd.FormatSEVSNP
	verdict, err := built.Judge(request)
	if err != nil {
		t.Fatal(err)
	}
	if verdict.Verdict != attestd.VerdictRejected || decisive(verdict) != want {
		t.Errorf("%v by %q, want rejected by %q; %+v", verdict.Verdict, decisive(verdict), want, verdict.Reasons)
	}
}

// TestSignatureFieldsAndTables changes bytes behind the signed part: the signature field and the
// certificate table, which no signature covers and which are refused by how they are written.
//
// neg: 113, 114
func TestSignatureFieldsAndTables(t *testing.T) {
	lab := newLaboratory(t)
	built, err := judge.New(judge.Config{InsecureRoots: lab.roots()})
	if err != nil {
		t.Fatal(err)
	}
	const algorithm, signature, component = 0x34, 0x2a0, 72
	table := func(guid string, data []byte) []byte {
		made, err := forge.SNPTable(forge.SNPTableEntry{GUID: guid, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	for _, row := range []struct {
		name string
		edit func(evidence []byte) []byte
		want attestd.CheckID
	}{
		{"another signature algorithm", func(e []byte) []byte {
			binary.LittleEndian.PutUint32(e[algorithm:], 2)
			return e
		}, "sev-snp/signature-format"},
		{"padding of R that is not zero", func(e []byte) []byte {
			e[signature+component-1] = 1
			return e
		}, "sev-snp/signature-format"},
		{"padding of S that is not zero", func(e []byte) []byte {
			e[signature+2*component-1] = 1
			return e
		}, "sev-snp/signature-format"},
		{"R zero", func(e []byte) []byte {
			clear(e[signature : signature+component])
			return e
		}, "sev-snp/signature-format"},
		{"S zero", func(e []byte) []byte {
			clear(e[signature+component : signature+2*component])
			return e
		}, "sev-snp/signature-format"},
		{"a table entry of a kind that nobody reads", func(e []byte) []byte {
			return append(e, table("00112233445566778899aabbccddeeff", []byte{1})...)
		}, "sev-snp/certificate-table"},
		{"a VCEK entry that holds no certificate", func(e []byte) []byte {
			return append(e, table(forge.GUIDVCEK, []byte("no certificate"))...)
		}, "sev-snp/certificate-table"},
	} {
		t.Run(row.name, func(t *testing.T) {
			vector := lab.report(lab.milan, "Milan", 3, nil)
			vector.Evidence = row.edit(vector.Evidence)
			expectRejection(t, built, vector, stricter(t), row.want)
		})
	}
}

// TestAVCEKForTheCurrentTCB gives a report the certificate that AMD issues for the platform's current
// TCB, while the report was signed by the key of the reported, older one.
//
// neg: 98, 100
func TestAVCEKForTheCurrentTCB(t *testing.T) {
	lab := newLaboratory(t)
	built, err := judge.New(judge.Config{InsecureRoots: lab.roots()})
	if err != nil {
		t.Fatal(err)
	}
	vector := lab.report(lab.milan, "Milan", 3, func(r *forge.SNPReport) { r.Reported[3]-- })
	current := forge.NewSNPReport("Milan", 3).VCEKConfig("Milan")
	wrong, err := lab.milan.IssueVCEK(current)
	if err != nil {
		t.Fatal(err)
	}
	vector.Endorsements.Certificates[0] = wrong.DER
	expectRejection(t, built, vector, stricter(t), "sev-snp/vcek-tcb")
}
