package appraisal_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/testvectors/forge"
)

// TestEveryLineFits keeps what was got and wanted readable, and holds each check to its table.
func TestEveryLineFits(t *testing.T) {
	long := strings.Repeat("ab", 48)
	input := guest(t, "Genoa", 5, nil)
	verdicts := []attestd.Appraisal{
		under(builtin(t, appraisal.Production), input),
		under(builtin(t, appraisal.Recorded), enclave(t, forge.Document{})),
		under(demanding(t, input, map[string]string{
			"host-data":    `{want: ["` + long + `", "cd"], otherwise: 5}`,
			"tcb-floor":    "{want: {Genoa: {bootloader: 255, tee: 255, snp: 255, microcode: 255}}, otherwise: 5}",
			"product-line": "{want: [" + strings.Repeat("A", 24) + ", " + strings.Repeat("B", 90) + "], otherwise: 5}",
		}), input),
	}
	for _, verdict := range verdicts {
		for _, check := range verdict.Checks {
			if len(check.Got) > 92 || len(check.Want) > 92 {
				t.Errorf("%s: got %q, want %q: longer than 92", check.ID, check.Got, check.Want)
			}
			if check.Result == attestd.ResultMissing || check.Spec == "" || check.Hint == "" {
				t.Errorf("%+v is not whole", check)
			}
		}
		for _, reason := range verdict.Reasons {
			if reason.Remedy == "" || reason.Detail == "" || reason.Group == "" {
				t.Errorf("%+v is not whole", reason)
			}
		}
	}
}

func TestAVerdictNamesThePolicyAndTheEvidence(t *testing.T) {
	input := enclave(t, forge.Document{})
	first := under(builtin(t, appraisal.Production), input)
	second := under(builtin(t, appraisal.Recorded), input)
	// neg: 178
	if first.Policy == second.Policy || !strings.HasPrefix(first.Policy.Digest, "sha256:") ||
		first.Policy.ID != "production" {
		t.Errorf("got %+v and %+v, want two policies by id and digest", first.Policy, second.Policy)
	}
	written, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(under(builtin(t, appraisal.Production), input)); err != nil ||
		!bytes.Equal(written, again) {
		t.Error("the same input gave another verdict")
	}
	for _, want := range []string{`"claims":{"debug":false`, `"freshness":"not-shown"`,
		`"schema":"attestd.verdict.v1"`, first.EvidenceSHA256} {
		if !strings.Contains(string(written), want) {
			t.Errorf("got %s, want it to contain %s", written, want)
		}
	}
}

// TestAppraisalIsCheap gates on allocations, which do not depend on the machine.
func TestAppraisalIsCheap(t *testing.T) {
	const most = 70 // about one for each check that shows a value
	input := guest(t, "Milan", 3, nil)
	input.References = known(t, input, measurements.StateActive)
	input.Policy = builtin(t, appraisal.Production)
	if got := testing.AllocsPerRun(100, func() { appraisal.Appraise(input) }); got > most {
		t.Errorf("got %v allocations, want at most %d", got, most)
	}
}

func BenchmarkAppraise(b *testing.B) {
	for name, input := range map[string]appraisal.Input{
		"nitro": enclave(b, forge.Document{}), "sev-snp": guest(b, "Milan", 3, nil),
	} {
		input.References = known(b, input, measurements.StateActive)
		input.Policy = builtin(b, appraisal.Production)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				appraisal.Appraise(input)
			}
		})
	}
}
