package subject_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// A hold on hardware that is spelled as no verifier spells it would hold nothing. neg: 182
func TestHardwareHasOneSpelling(t *testing.T) {
	digest, chip := strings.Repeat("9c", 32), strings.Repeat("5d", 64)
	for name, row := range map[string]struct {
		kind        subject.BarKind
		value, want string
	}{
		"an endorsement key":                  {subject.BarInstance, "ek:" + digest, "ek:" + digest},
		"in upper case":                       {subject.BarInstance, "EK:" + strings.ToUpper(digest), "ek:" + digest},
		"as it ends the agent's name":         {subject.BarInstance, strings.ToUpper(digest), "ek:" + digest},
		"a part of one":                       {subject.BarInstance, "ek:9c41", ""},
		"one that is masked":                  {subject.BarInstance, "ek:" + strings.Repeat("0", 64), ""},
		"one of another alphabet":             {subject.BarInstance, "ek:" + strings.Repeat("9с", 32), ""},
		"a machine of Azure":                  {subject.BarInstance, "azure:D1B3A1C0-00AA", "azure:d1b3a1c0-00aa"},
		"an instance of Google Cloud":         {subject.BarInstance, "gce:acme/europe-west4-a/17", "gce:acme/europe-west4-a/17"},
		"an enclave, whose case counts":       {subject.BarInstance, "i-0123456789abcdef0-encAB", "i-0123456789abcdef0-encAB"},
		"an instance with a space behind it":  {subject.BarInstance, "ek:" + digest + " ", ""},
		"a chip in upper case":                {subject.BarHost, strings.ToUpper(chip), chip},
		"a part of a chip":                    {subject.BarHost, "5d3e77a0", ""},
		"the chip that is masked":             {subject.BarHost, strings.Repeat("0", 128), ""},
		"a kind of key that is no hardware's": {subject.BarSubject, digest, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := subject.SpellHardware(row.kind, row.value)
			var caller *attestd.CallerError
			if refused := errors.As(err, &caller) && caller.Class == attestd.ClassMalformed; got != row.want ||
				refused != (row.want == "") {
				t.Errorf("%q, %v; want %q", got, err, row.want)
			}
		})
	}
}

// A certificate that writes the same machine in other case is no other machine. neg: 182
func TestAMachineOfAzureIsOneInWhateverCase(t *testing.T) {
	verdict := func(id string) attestd.Appraisal {
		return attestd.Appraisal{Handles: []attestd.Handle{
			{Kind: attestd.HandleInstance, Value: "azure:" + id},
			{Kind: attestd.HandleBoot, Value: "azure:" + id + "/7"},
		}}
	}
	lower, upper := subject.Observe(verdict("d1b3-aa")), subject.Observe(verdict("D1B3-AA"))
	if lower.Instance != upper.Instance || lower.Boot != upper.Boot || lower.Instance.Value != "azure:d1b3-aa" {
		t.Errorf("%+v and %+v", lower.Instance, upper.Instance)
	}
}

// TestTheClockOfAPartIsTheMachines: a TPM that runs backward shows a copy beside a processor as well.
func TestTheClockOfAPartIsTheMachines(t *testing.T) {
	part := func(path string, format attestd.Format, claims string) attestd.DeviceAppraisal {
		return attestd.DeviceAppraisal{Path: path, Format: format, Claims: []byte(claims)}
	}
	whole := attestd.Appraisal{
		Format: attestd.FormatComposite, Claims: []byte(`{"clock":1}`), Freshness: attestd.FreshnessBinding,
		Devices: []attestd.DeviceAppraisal{
			part("cpu", attestd.FormatSEVSNP, `{"clock":2}`),
			part("vtpm", attestd.FormatTPM, `{"clock":3,"clock_safe":true,"reset_count":4}`),
		},
	}
	seen := subject.Observe(whole)
	if !seen.Proven || seen.Clock == nil || seen.Clock.Milliseconds != 3 || !seen.Clock.Safe || seen.Clock.Resets != 4 {
		t.Errorf("got %+v of clock %+v", seen, seen.Clock)
	}
	whole.Devices = whole.Devices[:1]
	if seen := subject.Observe(whole); seen.Clock != nil {
		t.Errorf("got clock %+v where there is no TPM", seen.Clock)
	}
	whole.Claims = []byte("null")
	if subject.Observe(whole).Proven {
		t.Error("what was not verified proves something")
	}
}
