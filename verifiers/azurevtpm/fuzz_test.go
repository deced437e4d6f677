package azurevtpm_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/azureevidence"
	"github.com/attestd/attestd/verifiers/azurevtpm"
)

// FuzzHCLReport: the CPU signs a report's claims and nobody its headers, so that any change of a
// forged machine's HCL report is refused, but in the two fields of a TDREPORT that no quote has.
func FuzzHCLReport(f *testing.F) {
	v := forgedVerifier(f)
	inputs := [2]attestd.Input{newScene(f, false).build(), newScene(f, true).build()}
	parts := make([]azureevidence.Evidence, len(inputs))
	for i, input := range inputs {
		var err error
		if parts[i], err = azureevidence.Parse(input.Evidence); err != nil {
			f.Fatal(err)
		}
		f.Add(parts[i].HCLReport, i == 1)
		f.Add(parts[i].HCLReport[:1236], i == 1)
		f.Add(append(bytes.Clone(parts[i].HCLReport), 0), i == 1)
	}
	f.Fuzz(func(t *testing.T, report []byte, tdx bool) {
		at := 0
		if tdx {
			at = 1
		}
		changed, input := parts[at], inputs[at]
		changed.HCLReport = report
		var err error
		if input.Evidence, err = changed.Marshal(); err != nil {
			return // not a container
		}
		claims, err := v.Verify(input)
		if _, looked := v.Inspect(input.Evidence); looked != nil {
			t.Fatalf("a container that cannot be inspected: %v", looked)
		}
		if err == nil && claims.Proven() != bytes.Equal(covered(report, tdx), covered(parts[at].HCLReport, tdx)) {
			t.Fatalf("accepted: %x", report)
		}
		answer(t, claims, err)
	})
}

// covered leaves out what may be anything in a TDREPORT: version, CPUSVN, MAC, and what version 1 has
// and a quote of TDX 1.0 has not. The hashes over the last are the report's own.
func covered(report []byte, tdx bool) []byte {
	out := bytes.Clone(report)
	if len(out) > 1216 && tdx {
		hardware := out[32:1216]
		for _, area := range [][2]int{{3, 4}, {16, 32}, {32, 128}, {224, 256}, {256, 264}, {384, 400}, {912, 960}} {
			clear(hardware[area[0]:area[1]])
		}
	}
	if len(out) > 8 && out[4] == 1 {
		out[4] = 2 // versions 1 and 2 have one layout
	}
	return out
}

// answer demands claims or one of the three kinds of errors.
func answer(t *testing.T, claims *attestd.Claims, err error) {
	t.Helper()
	var rejected *attestd.EvidenceError
	var undecided *attestd.UndecidedError
	switch {
	case err == nil && claims.Proven(), errors.As(err, &rejected), errors.As(err, &undecided):
	default:
		t.Fatalf("claims %v, error %v", claims, err)
	}
	if err != nil && claims != nil {
		t.Fatal("claims beside an error")
	}
}

// FuzzAzure: no bytes make Verify or Inspect panic, write to their input, or answer in any other way.
func FuzzAzure(f *testing.F) {
	v := forgedVerifier(f)
	input := newScene(f, true).build()
	f.Add(input.Evidence)
	f.Add(newScene(f, false).build().Evidence)
	f.Add([]byte("\xa1\x00\x78\x19attestd/azure-evidence/v1"))
	f.Fuzz(func(t *testing.T, data []byte) { ask(t, v, input, data) })
}

func ask(t *testing.T, v *azurevtpm.Verifier, input attestd.Input, data []byte) {
	t.Helper()
	input.Evidence = bytes.Clone(data)
	claims, err := v.Verify(input)
	answer(t, claims, err)
	_, _ = v.Inspect(input.Evidence)
	v.Detect(input.Evidence)
	if !bytes.Equal(input.Evidence, data) {
		t.Fatal("the input was written to")
	}
}
