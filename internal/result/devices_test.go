package result_test

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/client/ear"
	"github.com/attestd/attestd/internal/result"
)

// composed is an accepted verdict on a processor and a TPM, which warns of the TPM.
func composed() attestd.Appraisal {
	given := accepted()
	given.Format, given.Tier, given.Risk = attestd.FormatComposite, attestd.TierMedium, attestd.Risk(45)
	given.Trust = attestd.TrustVector{Hardware: 32, Executables: 3, RuntimeOpaque: 2}
	given.Edges = []attestd.Edge{{
		From: "cpu", To: "vtpm", Grade: attestd.GradeSimultaneous, How: "one secret nonce",
	}}
	given.Devices = []attestd.DeviceAppraisal{
		{
			Path: "cpu", Format: attestd.FormatSEVSNP, Verdict: attestd.VerdictAccepted, Tier: attestd.TierLow,
			Risk: attestd.Risk(5), Freshness: attestd.FreshnessBinding, Summary: "secret", Claims: []byte(`{"a":"secret"}`),
			Trust: attestd.TrustVector{Hardware: 2, RuntimeOpaque: 2},
		},
		{
			Path: "vtpm", Format: attestd.FormatTPM, Verdict: attestd.VerdictAccepted, Tier: attestd.TierMedium,
			Risk: attestd.Risk(40), Freshness: attestd.FreshnessBinding, Claims: []byte(`{}`),
			Handles: []attestd.Handle{{Kind: attestd.HandleInstance, Value: "ek:secret"}},
			Trust:   attestd.TrustVector{Hardware: 32, Executables: 3},
		},
	}
	given.Checks = []attestd.Check{
		{ID: "sev-snp/vmpl", Device: "cpu", Result: attestd.ResultPass},
		{ID: "tpm/protection", Device: "vtpm", Result: attestd.ResultFail},
		{ID: "ownership/known", Result: attestd.ResultFail},
	}
	return given
}

func TestAResultHasAPartForEachDevice(t *testing.T) {
	w := newWorld(t)
	for _, profile := range []result.Profile{result.Veraison2023, result.IETF03} {
		t.Run(string(profile), func(t *testing.T) {
			w.TB = t
			token := w.sign(result.Statement{Appraisal: composed(), Profile: profile, State: attestd.StateTrusted})
			got, err := w.read(token, nil)
			if err != nil {
				t.Fatal(err)
			}
			names := map[string]ear.Submod{}
			for _, part := range got.Submods {
				names[part.Name] = part
			}
			cpu, tpm := names["cpu"], names["vtpm"]
			if len(names) != 3 || got.Status != ear.Warning || cpu.Status != ear.Affirming || tpm.Status != ear.Warning {
				t.Fatalf("got %+v", got.Submods)
			}
			if cpu.Own.Device != "cpu" || cpu.Own.Format != attestd.FormatSEVSNP || cpu.Own.RiskScore != attestd.Risk(5) ||
				len(cpu.Own.Failing) != 0 || cpu.Own.Subject != "" || cpu.Policies[0] != "production@sha256:9f2c" {
				t.Errorf("the processor: %+v", cpu.Own)
			}
			if !slices.Equal(tpm.Own.Failing, []attestd.CheckID{"tpm/protection"}) || tpm.Trust.Hardware != 32 {
				t.Errorf("the TPM: %+v, %+v", tpm.Own, tpm.Trust)
			}
			whole, found := got.Whole()
			if !found || whole.Name != "composite" || len(whole.Own.Failing) != 2 || len(whole.Own.Edges) != 1 ||
				whole.Own.Edges[0].Grade != attestd.GradeSimultaneous || whole.Own.WeakestEdge == nil ||
				*whole.Own.WeakestEdge != attestd.GradeSimultaneous || whole.Own.Subject == "" {
				t.Errorf("the whole: %+v", whole.Own)
			}
			payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
			if err != nil || strings.Contains(string(payload), "secret") {
				t.Errorf("the result has what only the verifier should: %s", payload)
			}
		})
	}
}

// TestThePartsOfAnUndecidedWhole: a good device beside one that could not be decided affirms nothing of
// the machine.
func TestThePartsOfAnUndecidedWhole(t *testing.T) {
	w := newWorld(t)
	given := composed()
	given.Verdict, given.Tier, given.Risk = attestd.VerdictUndecided, attestd.TierUnknown, attestd.Risk(100)
	given.Devices[1].Verdict, given.Devices[1].Tier = attestd.VerdictUndecided, attestd.TierUnknown
	for _, profile := range []result.Profile{result.Veraison2023, result.IETF03} {
		got, err := w.read(w.sign(result.Statement{Appraisal: given, Profile: profile}), nil)
		if err != nil || got.Status != ear.None || got.Demand() == nil {
			t.Errorf("%s: got %+v, %v", profile, got, err)
		}
	}
}

func TestADeviceThatTakesTheNameOfTheWholeIsRefused(t *testing.T) {
	w := newWorld(t)
	given := composed()
	given.Devices[0].Path = string(attestd.FormatComposite)
	if token, err := w.issuer.Sign(context.Background(), result.Statement{Appraisal: given}); err == nil {
		t.Errorf("got %s", token)
	}
}
