package sevsnp_test

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-sev-guest/verify/testdata"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/sevsnp"
)

// vectorFolder is where extra published vectors lie: named by ATTESTD_VECTORS, or beside the
// repository.
func vectorFolder() string {
	if folder := os.Getenv("ATTESTD_VECTORS"); folder != "" {
		return filepath.Join(folder, "snp")
	}
	return filepath.Join("..", "..", "..", "shared", "vectors", "snp")
}

// published returns a vector's bytes, or nil where the folder is not there. With ATTESTD_VECTORS set
// every vector is required.
func published(t testing.TB, name string) []byte {
	t.Helper()
	if name == "" {
		return nil
	}
	if name == "go-sev-guest" {
		return testdata.AttestationBytes
	}
	if name == "go-sev-guest-vcek" {
		return testdata.VcekBytes
	}
	data, err := os.ReadFile(filepath.Join(vectorFolder(), name))
	if err != nil {
		if os.Getenv("ATTESTD_VECTORS") != "" {
			t.Fatalf("vector %s: %v", name, err)
		}
		return nil
	}
	switch {
	case strings.HasSuffix(name, ".hex"):
		if data, err = hex.DecodeString(strings.TrimSpace(string(data))); err != nil {
			t.Fatal(err)
		}
	case strings.HasSuffix(name, ".cbor"):
		data = fromTSM(t, data)
	}
	return data
}

// fromTSM joins report and table of the one published configfs-tsm map: its three byte strings are
// auxblob, outblob and provider, each behind a two-byte length.
func fromTSM(t testing.TB, data []byte) []byte {
	t.Helper()
	part := func(name string) []byte {
		_, rest, found := strings.Cut(string(data), name)
		if !found || rest[0] != 0x59 {
			t.Fatalf("no byte string %s", name)
		}
		size := int(rest[1])<<8 | int(rest[2])
		return []byte(rest[3 : 3+size])
	}
	return append(part("outblob"), part("auxblob")...)
}

var publishedRows = []struct {
	name, evidence, vcek string
	at                   string
	check                attestd.CheckID // must fail; empty: accepted
	class                attestd.Class
	summary              string
	debug                bool
}{
	{
		name:     "the debug sample of go-sev-guest is authentic",
		evidence: "go-sev-guest", vcek: "go-sev-guest-vcek", at: "2022-10-01T00:00:00Z",
		summary: "Milan, report v2", debug: true, // neg: 92
	},
	{
		name:     "a Milan report of Azure's kind is accepted",
		evidence: "trustee__test-report.bin", vcek: "trustee__test-vcek.der",
		at: "2024-01-01T00:00:00Z", summary: "Milan, report v2",
	},
	{
		name:     "virtee's Milan report is accepted",
		evidence: "sev__report_milan.hex", vcek: "sev__vcek_milan.der",
		at: "2024-01-01T00:00:00Z", summary: "Milan, report v2",
	},
	{
		name:     "cmc's Milan report is accepted",
		evidence: "cmc_milan_v2_valid.bin", vcek: "cmc_milan_vcek.der",
		at: "2024-01-01T00:00:00Z", summary: "Milan, report v2",
	},
	{
		name:     "a Genoa report with the host's certificate table is accepted",
		evidence: "services__sevsnp-tsm-report.cbor",
		at:       "2026-01-01T00:00:00Z", summary: "Genoa, report v3",
	},
	{
		name:     "a report of Bergamo or Siena is accepted under Genoa's root", // neg: 103
		evidence: "attestation-rs__live-report-v5-genoa.bin", vcek: "attestation-rs__live-vcek-genoa.der",
		at: "2026-06-01T00:00:00Z", summary: "Bergamo or Siena, report v5",
	},
	{
		name:     "cmc's report with a changed byte is refused",
		evidence: "cmc_milan_v2_invalid.bin", vcek: "cmc_milan_vcek.der",
		at: "2024-01-01T00:00:00Z", check: "sev-snp/signature", class: attestd.ClassSignature,
	},
	{
		name:     "cmc's report with changed report data is refused",
		evidence: "cmc_milan_v2_invalid_data.bin", vcek: "cmc_milan_vcek.der",
		at: "2024-01-01T00:00:00Z", check: "sev-snp/signature", class: attestd.ClassSignature,
	},
	{
		name:     "a VCEK that AMD did not sign is refused, old form", // neg: 108
		evidence: "trustee__test-report.bin", vcek: "trustee__test-vcek-invalid-legacy.der",
		at: "2024-01-01T00:00:00Z", check: "sev-snp/chain", class: attestd.ClassChain,
	},
	{
		name:     "a VCEK that AMD did not sign is refused, new form",
		evidence: "trustee__test-report.bin", vcek: "trustee__test-vcek-invalid-new.der",
		at: "2024-01-01T00:00:00Z", check: "sev-snp/chain", class: attestd.ClassChain,
	},
	{
		name:     "a report signed by the VLEK of a cloud is accepted", // neg: 104
		evidence: "trustee__test-vlek-report.bin", vcek: "trustee__test-vlek.der",
		at: "2025-06-01T00:00:00Z", summary: "Milan, report v3",
	},
	{
		name:     "a report signed by a VLEK is refused after the VLEK's end",
		evidence: "trustee__test-vlek-report.bin", vcek: "trustee__test-vlek.der",
		at: "2025-12-11T00:00:00Z", check: "sev-snp/chain-validity", class: attestd.ClassCertTime,
	},
	{
		name:     "a report signed by a VLEK is refused before the VLEK's beginning",
		evidence: "trustee__test-vlek-report.bin", vcek: "trustee__test-vlek.der",
		at: "2024-12-10T00:00:00Z", check: "sev-snp/chain-validity", class: attestd.ClassCertTime,
	},
	{
		name:     "a report signed by a VLEK is refused with a VCEK of the line", // neg: 104
		evidence: "trustee__test-vlek-report.bin", vcek: "trustee__test-vcek.der",
		at: "2025-06-01T00:00:00Z", check: "sev-snp/chain", class: attestd.ClassChain,
	},
	{
		name:     "a Turin report is accepted", // neg: 102
		evidence: "oak_turin_oc_report.bin", vcek: "oak_turin_oc_vcek.der",
		at: "2025-12-01T00:00:00Z", summary: "Turin, report v5",
	},
	{
		name:     "a Turin report with the VCEK of another Turin chip is refused", // neg: 96
		evidence: "oak_turin_oc_report.bin", vcek: "sev__vcek_turin.der",
		at: "2025-12-01T00:00:00Z", check: "sev-snp/vcek-chip-id", class: attestd.ClassChain,
	},
	{
		name:     "an authentic report with another chip's VCEK is refused", // neg: 96
		evidence: "sev__report_milan.hex", vcek: "trustee__test-vcek.der",
		at: "2024-01-01T00:00:00Z", check: "sev-snp/vcek-chip-id", class: attestd.ClassChain,
	},
	{
		name:     "an authentic report without a VCEK is undecided",
		evidence: "sev__report_milan.hex",
		at:       "2024-01-01T00:00:00Z", check: "sev-snp/vcek-present",
		class: attestd.ClassCollateralUnavailable,
	},
	{
		name:     "an authentic report is refused after its VCEK's end",
		evidence: "sev__report_milan.hex", vcek: "sev__vcek_milan.der",
		at: "2031-01-01T00:00:00Z", check: "sev-snp/chain-validity", class: attestd.ClassCertTime,
	},
	{
		name:     "an authentic report is refused before its VCEK's beginning",
		evidence: "sev__report_milan.hex", vcek: "sev__vcek_milan.der",
		at: "2022-01-01T00:00:00Z", check: "sev-snp/chain-validity", class: attestd.ClassCertTime,
	},
}

func newVerifier(t testing.TB) *sevsnp.Verifier {
	t.Helper()
	v, err := sevsnp.New(sevsnp.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func endorsed(ders ...[]byte) attestd.Endorsements {
	var out attestd.Endorsements
	for _, der := range ders {
		if der != nil {
			out.Certificates = append(out.Certificates, der)
		}
	}
	return out
}

func TestPublishedEvidence(t *testing.T) {
	v := newVerifier(t)
	for _, row := range publishedRows {
		t.Run(row.name, func(t *testing.T) {
			evidence := published(t, row.evidence)
			if evidence == nil {
				t.Logf("not available: %s", row.evidence)
				return
			}
			claims, err := v.Verify(attestd.Input{
				Evidence: evidence, Endorsements: endorsed(published(t, row.vcek)),
				At: at(t, row.at), Demand: attestd.Recorded(),
			})
			if row.check != "" {
				wantFailure(t, claims, err, row.check, row.class)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if claims.Summary() != row.summary {
				t.Errorf("summary %q, want %q", claims.Summary(), row.summary)
			}
			if debug := flag(t, claims, "debug"); debug != row.debug {
				t.Errorf("debug %t, want %t", debug, row.debug)
			}
			if !v.Detect(evidence) {
				t.Error("not detected")
			}
		})
	}
}

// wantFailure demands that the named check failed with the class, as last of the recorded checks,
// and that no claims came with the error.
func wantFailure(
	t testing.TB, claims *attestd.Claims, err error, check attestd.CheckID, class attestd.Class,
) {
	t.Helper()
	if claims != nil {
		t.Error("claims beside an error")
	}
	var got attestd.CheckID
	var gotClass attestd.Class
	var checks []attestd.Check
	var rejected *attestd.EvidenceError
	var undecided *attestd.UndecidedError
	switch {
	case errors.As(err, &rejected):
		got, gotClass, checks = rejected.Check, rejected.Class, rejected.Checks
		if gotClass.Undecided() {
			t.Errorf("rejected with class %s, which is no rejection", gotClass)
		}
	case errors.As(err, &undecided):
		got, gotClass, checks = undecided.Check, undecided.Class, undecided.Checks
		if !gotClass.Undecided() {
			t.Errorf("undecided with class %s", gotClass)
		}
	default:
		t.Fatalf("got %v, want %s", err, check)
	}
	if got != check || gotClass != class {
		t.Fatalf("got %s %s (%v), want %s %s", got, gotClass, err, check, class)
	}
	if len(checks) == 0 || checks[len(checks)-1].ID != check ||
		checks[len(checks)-1].Result != attestd.ResultFail {
		t.Errorf("the failed check is not the last one: %v", checks)
	}
}

func flag(t testing.TB, claims *attestd.Claims, name string) bool {
	t.Helper()
	value, found := claims.Fact(name)
	set, isBool := value.Bool()
	if !found || !isBool {
		t.Fatalf("fact %s is %s", name, value)
	}
	return set
}
