package verifiertest_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/claims"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/verifiertest"
)

// toyMachine is a composer over two toys: evidence is that of both, one behind the other.
type toyMachine struct {
	toy
	parts [2]*toy
	fault string
}

func (m *toyMachine) Detect(evidence []byte) bool { return len(evidence) == 2*toySize }
func (m *toyMachine) Parts() []verifiers.Verifier { return []verifiers.Verifier{m.parts[0]} }
func (m *toyMachine) Format() attestd.Format      { return attestd.FormatComposite }
func (m *toyMachine) Checks() []attestd.CheckSpec { return nil }
func (m *toyMachine) SignaturesVerified() uint64 {
	return m.parts[0].SignaturesVerified() + m.parts[1].SignaturesVerified()
}

func (m *toyMachine) Verify(input attestd.Input) (*attestd.Claims, error) {
	values := attestd.ClaimValues{
		Format: attestd.FormatComposite, EvidenceDigest: sha256.Sum256(input.Evidence),
		Facts: []attestd.Fact{{Name: "nonce", Value: attestd.Bytes(nil)}},
		Edges: []attestd.Edge{{From: "cpu", To: "vtpm", How: "said so"}},
	}
	for i, path := range []string{"cpu", "vtpm"} {
		part := input
		part.Evidence = input.Evidence[min(i*toySize, len(input.Evidence)):]
		if i == 0 {
			part.Evidence = part.Evidence[:min(toySize, len(part.Evidence))]
		}
		device, err := m.parts[i].Verify(part)
		if err != nil {
			return nil, err
		}
		values.Freshness = device.Freshness()
		checks := device.Checks()
		for k := range checks {
			checks[k].Device = path
		}
		if m.fault == "loses a device's check" && i == 1 {
			checks = slices.Delete(checks, 2, 3)
		}
		values.Checks = append(values.Checks, checks...)
		values.Devices = append(values.Devices, attestd.Device{Path: path, Claims: device})
	}
	switch m.fault {
	case "gives claims of one device":
		values.Devices, values.Edges = values.Devices[:1], nil
	case "ties nothing":
		values.Edges = nil
	case "does not say how":
		values.Edges[0].How = ""
	case "calls what is recorded simultaneous":
		values.Edges[0].Grade = attestd.GradeSimultaneous
	}
	return attestd.NewClaims(claims.Grant(), values), nil
}

// machineAlone hides that a machine is a composer.
type machineAlone struct{ verifiers.Verifier }

// TestToyMachine runs the suite on a small composer. It passes; with a fault built in it must not.
func TestToyMachine(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	evidence := append(toyEvidence(key), toyEvidence(key)...)
	build := func() verifiers.Verifier {
		m := &toyMachine{fault: os.Getenv(faultVariable)}
		for i := range m.parts {
			m.parts[i] = &toy{public: key.Public().(ed25519.PublicKey)}
		}
		switch m.fault {
		case "verifies seventeen signatures":
			m.parts[0].fault, m.parts[1].fault = "verifies nine signatures", "verifies nine signatures"
		case "says that it composes nothing":
			return machineAlone{m}
		}
		return m
	}
	verifiertest.Conformance(t, verifiertest.Case{
		New: build, Nonce: evidence[1:33], OtherTimes: verifiertest.OutsideValidity(), Signatures: 2,
		Input: attestd.Input{Evidence: evidence, At: toyFrom.Add(time.Hour), Demand: attestd.Recorded()},
	})
}

func TestTheSuiteSeesFaultsOfComposers(t *testing.T) {
	seesFaults(t, "TestToyMachine", map[string]string{
		"gives claims of one device":          "claims of 1 devices",
		"ties nothing":                        "2 devices that no edge reaches",
		"does not say how":                    "does not say how",
		"calls what is recorded simultaneous": "freshness is not shown",
		"loses a device's check":              "checks under vtpm",
		"verifies seventeen signatures":       "want 1 to 16",
		"says that it composes nothing":       "composes nothing",
	})
}
