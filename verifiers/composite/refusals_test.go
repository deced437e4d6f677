package composite_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/compositeevidence"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/composite"
)

// quickVerifier has no parts whose test authorities need RSA keys.
func quickVerifier(t *testing.T) *composite.Verifier {
	t.Helper()
	v, err := composite.New(composite.Config{Parts: quickParts(t)})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// asksWrong wants a mistake of the caller's that is said in these words, and of no device's.
func asksWrong(t *testing.T, v verifiers.Verifier, input attestd.Input, words string) {
	t.Helper()
	claims, err := v.Verify(input)
	var caller *attestd.CallerError
	if claims != nil || !errors.As(err, &caller) || caller.Class != attestd.ClassMalformed ||
		caller.Hint == "" || !strings.HasPrefix(caller.Err.Error(), words) {
		t.Errorf("got %v, want a mistake of the caller's: %s", err, words)
	}
}

// TestQuestionsThatCannotBeAnswered are the caller's mistake, whatever the evidence is.
func TestQuestionsThatCannotBeAnswered(t *testing.T) {
	t.Parallel()
	v := quickVerifier(t)
	asksWrong(t, v, attestd.Input{Demand: attestd.Recorded()}, "no time to judge at")
	asksWrong(t, v, attestd.Input{At: forge.CompositeTime}, "nothing is demanded of the evidence")
	refused(t, v, attestd.Input{Demand: attestd.Recorded(), At: time.Unix(0, 0)}, "",
		"composite/encoding", attestd.ClassMalformed)
}

// TestANonceFromWhichNoDeviceHasAValue: evidence that was recorded under a short one belongs to no
// composition, and no device is asked with nothing in its place.
func TestANonceFromWhichNoDeviceHasAValue(t *testing.T) {
	t.Parallel()
	demand, err := attestd.Recorded().WithNonce(root[:8])
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := forge.Composite(nil, domain(t), chip(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	asksWrong(t, quickVerifier(t), bareInput(t, demand, evidence), "root of composed evidence has 8 bytes")
}

// TestADeviceThatNoMachineHas: the answer names the devices that a machine has.
func TestADeviceThatNoMachineHas(t *testing.T) {
	t.Parallel()
	device := func(path string, format attestd.Format) compositeevidence.Device {
		return compositeevidence.Device{Path: path, Format: format, Evidence: []byte{1}}
	}
	evidence, err := compositeevidence.Evidence{Devices: []compositeevidence.Device{
		device("cpu", attestd.FormatTDX), device("gpu0", attestd.FormatTDX),
	}}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	_, err = quickVerifier(t).Verify(bareInput(t, attestd.Recorded(), evidence))
	var rejected *attestd.EvidenceError
	if !errors.As(err, &rejected) || rejected.Check != "composite/devices-known" ||
		!strings.Contains(rejected.Want, "cpu (") || !strings.Contains(rejected.Want, "vtpm (") {
		t.Errorf("got %v, want the devices of a machine", err)
	}
}
