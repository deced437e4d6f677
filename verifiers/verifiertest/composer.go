package verifiertest

import (
	"slices"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers"
)

// specsOf lists the checks that an answer can name: the verifier's own, and those of the verifiers that
// a composer shows devices' evidence to.
func specsOf(v verifiers.Verifier) []attestd.CheckSpec {
	out := v.Checks()
	if composer, ok := v.(verifiers.Composer); ok {
		for _, part := range composer.Parts() {
			out = append(out, specsOf(part)...)
		}
	}
	return out
}

// budget is how many signature verifications evidence like that of claims may cost: as many for each
// device as for evidence of one.
func budget(claims *attestd.Claims) uint64 {
	devices := uint64(0)
	for range claims.Devices() {
		devices++
	}
	return maxSignatures * max(1, devices)
}

// carriesDevices demands of a composer what a verdict on devices needs: claims for each, of a part that
// it names; each device's checks, whole and in their order, under its path; and an edge that reaches
// every device but the one that the others are tied to. A verifier of one device has none of it.
func carriesDevices(t *testing.T, v verifiers.Verifier, claims *attestd.Claims) {
	devices := slices.Collect(claims.Devices())
	composer, composes := v.(verifiers.Composer)
	if !composes {
		if len(devices) != 0 || len(slices.Collect(claims.Edges())) != 0 {
			t.Error("claims with devices, of a verifier that composes nothing")
		}
		return
	}
	if len(devices) < 2 {
		t.Errorf("claims of %d devices, want two or more", len(devices))
	}
	reached := map[string]bool{}
	for edge := range claims.Edges() {
		reached[edge.To] = true
		if edge.How == "" {
			t.Errorf("the edge from %s to %s does not say how", edge.From, edge.To)
		}
		if claims.Freshness() == attestd.FreshnessNotShown && edge.Grade == attestd.GradeSimultaneous {
			t.Errorf("the edge from %s to %s is simultaneous, and freshness is not shown", edge.From, edge.To)
		}
	}
	loose := 0
	for _, device := range devices {
		if !reached[device.Path] {
			loose++
		}
		if !slices.ContainsFunc(composer.Parts(), func(part verifiers.Verifier) bool {
			return part.Format() == device.Claims.Format()
		}) {
			t.Errorf("device %s is of format %s, which no part verifies", device.Path, device.Claims.Format())
		}
		var got, want []attestd.CheckID
		for _, check := range claims.Checks() {
			if check.Device == device.Path {
				got = append(got, check.ID)
			}
		}
		for _, check := range device.Claims.Checks() {
			want = append(want, check.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("checks under %s:\n%q\nwant its verifier's:\n%q", device.Path, got, want)
		}
	}
	if loose > 1 {
		t.Errorf("%d devices that no edge reaches, want one", loose)
	}
}
