package verifiertest_test

import (
	"crypto/ed25519"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/verifiertest"
)

// faultVariable tells the test binary, started by TestTheSuiteSeesFaults, which fault to build in.
const faultVariable = "ATTESTD_TOY_FAULT"

// TestToy runs the suite on a small verifier. It passes; with a fault built in it must not.
func TestToy(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	evidence := toyEvidence(key)
	verifiertest.Conformance(t, verifiertest.Case{
		New: func() verifiers.Verifier {
			return &toy{public: key.Public().(ed25519.PublicKey), fault: os.Getenv(faultVariable)}
		},
		Input: attestd.Input{
			Evidence: evidence, At: toyFrom.Add(time.Hour), Demand: attestd.Recorded(),
		},
		Nonce: evidence[1:33], OtherTimes: verifiertest.OutsideValidity(),
	})
}

// TestTheSuiteSeesFaults starts this test binary once per fault and wants TestToy to fail and to say
// what is wrong. A suite that lets one of these through is worth nothing for that rule.
func TestTheSuiteSeesFaults(t *testing.T) {
	seesFaults(t, "TestToy", map[string]string{
		"skips the signature":         "accepted",
		"accepts trailing bytes":      "accepted",
		"panics on short evidence":    "panic",
		"gives claims beside errors":  "claims beside an error",
		"gives neither":               "neither claims nor an error",
		"keeps the input's memory":    "claims changed",
		"writes to its input":         "wrote to its input",
		"ignores the nonce":           "nonce",
		"compares half of the nonce":  "last bit",
		"ignores a missing demand":    "no demand at all",
		"ignores the key":             "other key",
		"ignores the time":            "at no time: accepted",
		"names an unknown check":      "not in the table",
		"skips a check of its table":  "want the table's",
		"has an undocumented fact":    "documented as",
		"says why without an error":   "an error of type",
		"verifies nine signatures":    "signature verifications",
		"claims to have seen freshly": "showed freshness",
	})
}

// seesFaults runs the test once with each fault built in and wants it to fail with the complaint.
func seesFaults(t *testing.T, test string, faults map[string]string) {
	t.Helper()
	for fault, complaint := range faults {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			command := exec.Command(os.Args[0], "-test.run=^"+test+"$") //nolint:gosec // this binary
			command.Env = append(os.Environ(), faultVariable+"="+fault)
			out, err := command.CombinedOutput()
			if err == nil {
				t.Fatalf("the suite passed a verifier that %s", fault)
			}
			if !strings.Contains(string(out), complaint) {
				t.Errorf("the suite did not say %q:\n%s", complaint, out)
			}
		})
	}
}
