package issuance_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/issuance"
)

// machine is an accepted verdict on a processor and a TPM that holds the agent's key.
func machine(grade attestd.Grade) attestd.Appraisal {
	known := func(device, name string) attestd.Check {
		return attestd.Check{ID: "measurement/known", Device: device, Result: attestd.ResultPass, Got: name + " / 1"}
	}
	return attestd.Appraisal{
		Format: attestd.FormatComposite, Verdict: attestd.VerdictAccepted, At: time.Unix(1_800_000_000, 0),
		Claims: []byte(`{"ak_residency":"certified"}`),
		Devices: []attestd.DeviceAppraisal{
			{Path: "cpu", Format: attestd.FormatSEVSNP, Claims: []byte(`{"ak_residency":"none"}`)},
			{Path: "vtpm", Format: attestd.FormatTPM, Claims: []byte(`{"ak_residency":"activated","certified_key":"01` +
				strings.Repeat("00", 31) + `"}`)},
		},
		Edges:  []attestd.Edge{{From: "cpu", To: "vtpm", Grade: grade}},
		Checks: []attestd.Check{known("cpu", "guest"), known("vtpm", "boot")},
	}
}

func TestComposedEvidenceSaysItsDevicesAndTheirTie(t *testing.T) {
	selectors, claims := issuance.Shown(machine(attestd.GradeSimultaneous))
	for _, want := range []string{
		"device-cpu:sev-snp", "device-vtpm:tpm", "edge:simultaneous", "measurement:guest_boot", "key:resident",
		"residency:activated",
	} {
		if !slices.Contains(selectors, want) {
			t.Errorf("got %q, want %s", selectors, want)
		}
	}
	for name, want := range map[string]any{
		"devices": "cpu.sev-snp_vtpm.tpm", "weakest_edge": "simultaneous", "key_grade": "resident",
		"measurement": "guest_boot",
	} {
		if claims[name] != want {
			t.Errorf("%s is %v, want %v", name, claims[name], want)
		}
	}
	// The weakest of several nodes counts, and a node of one device has no tie to tell of.
	_, claims = issuance.Shown(machine(attestd.GradeCryptographic), machine(attestd.GradeSimultaneous))
	if claims["weakest_edge"] != "simultaneous" || claims["devices"] != "cpu.sev-snp_vtpm.tpm" {
		t.Errorf("of two nodes: %v", claims)
	}
	alone := machine(attestd.GradeCryptographic)
	alone.Format, alone.Devices, alone.Edges = attestd.FormatTPM, nil, nil
	for _, order := range [][]attestd.Appraisal{
		{alone, machine(attestd.GradeCryptographic)}, {machine(attestd.GradeCryptographic), alone},
	} {
		if _, claims = issuance.Shown(order...); claims["weakest_edge"] != nil || claims["devices"] != nil {
			t.Errorf("beside a node of one device: %v", claims)
		}
	}
}

// TestATPMThatNothingTiesSaysNothingOfTheKey: it may be anybody's.
func TestATPMThatNothingTiesSaysNothingOfTheKey(t *testing.T) {
	selectors, claims := issuance.Shown(machine(attestd.GradeNone))
	if claims["weakest_edge"] != "none" || claims["key_grade"] != "bound" ||
		!slices.Contains(selectors, "edge:none") || slices.Contains(selectors, "residency:activated") {
		t.Errorf("got %v, %q", claims, selectors)
	}
}

// TestWhatIsHalfKnownHasNoName: where one part runs what nobody knows, the other's name is not the
// machine's: an entry that asks for that name asks for a machine that runs it.
func TestWhatIsHalfKnownHasNoName(t *testing.T) {
	for unknown := range 2 {
		one := machine(attestd.GradeSimultaneous)
		one.Checks[unknown].Result, one.Checks[unknown].Got = attestd.ResultFail, "00ff"
		selectors, claims := issuance.Shown(one)
		if claims["measurement"] != nil || slices.ContainsFunc(selectors, func(s string) bool {
			return strings.HasPrefix(s, "measurement:")
		}) {
			t.Errorf("%s unknown: %v, %q", one.Checks[unknown].Device, claims["measurement"], selectors)
		}
	}
}
