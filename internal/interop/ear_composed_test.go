package interop

import (
	"context"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwa"
	veraison "github.com/veraison/ear"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/result"
)

// TestVeraisonReadsAPartForEachDevice: the library finds the whole and each device, with the status that
// we gave them, and its own rule makes of no vector a better one.
func TestVeraisonReadsAPartForEachDevice(t *testing.T) {
	issuer := issuerOf(t, result.Veraison2023)
	public := activeKey(t, issuer)
	given := verdict(attestd.VerdictAccepted, 50)
	given.Format = attestd.FormatComposite
	device := func(path string, format attestd.Format, risk int) attestd.DeviceAppraisal {
		return attestd.DeviceAppraisal{
			Path: path, Format: format, Verdict: attestd.VerdictAccepted, Risk: attestd.Risk(risk),
			Tier: attestd.Risk(risk).Tier(), Trust: given.Trust, Claims: []byte(`{}`),
		}
	}
	given.Devices = []attestd.DeviceAppraisal{
		device("cpu", attestd.FormatSEVSNP, 10), device("vtpm", attestd.FormatTPM, 50),
	}
	given.Edges = []attestd.Edge{{From: "cpu", To: "vtpm", Grade: attestd.GradeSimultaneous}}
	token, err := issuer.Sign(context.Background(), result.Statement{Appraisal: given, State: attestd.StateTrusted})
	if err != nil {
		t.Fatal(err)
	}
	var read veraison.AttestationResult
	if err := read.Verify([]byte(token), jwa.ES256, public); err != nil {
		t.Fatal(err)
	}
	want := map[string]veraison.TrustTier{
		"composite": veraison.TrustTierWarning, "cpu": veraison.TrustTierAffirming, "vtpm": veraison.TrustTierWarning,
	}
	if len(read.Submods) != len(want) {
		t.Fatalf("read %d parts, want %d", len(read.Submods), len(want))
	}
	for name, status := range want {
		part := read.Submods[name]
		if part == nil || *part.Status != status {
			t.Fatalf("%s: read %+v, want %v", name, part, status)
		}
		if part.UpdateStatusFromTrustVector(); *part.Status != status {
			t.Errorf("%s: their rule makes %v of %v", name, *part.Status, status)
		}
	}
}
