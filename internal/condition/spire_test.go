package condition_test

import (
	"testing"
	"time"

	"github.com/attestd/attestd/internal/condition"
)

func TestWhatIsSaidOfSPIRE(t *testing.T) {
	now := time.Date(2026, time.November, 23, 12, 0, 0, 0, time.UTC)
	well := condition.Canary{OK: true, At: now.Add(-5 * time.Second), Took: 4 * time.Millisecond}
	sound := condition.SPIREFigures{
		Enabled: true, Controlled: true, Connected: true, MapAt: now.Add(-5 * time.Second),
		Mint: well, Attestation: well, Starts: map[string]int{"composer": 1}, OID: "1.3.6.1.4.1.99999.1",
		Now: now,
	}
	for _, row := range []struct {
		name   string
		change func(*condition.SPIREFigures)
		id     condition.ID
		want   condition.Severity
	}{
		{"no controller", func(f *condition.SPIREFigures) { f.Connected = false }, condition.SPIREController, condition.Failure},
		{"an old map", func(f *condition.SPIREFigures) { f.MapAt = now.Add(-time.Hour) }, condition.SPIREController, condition.Warning},
		{"a hold that SPIRE has not carried out", func(f *condition.SPIREFigures) { f.Open = []string{"x: no such agent"} },
			condition.SPIREHolds, condition.Warning},
		{"a mint that failed", func(f *condition.SPIREFigures) { f.Mint = condition.Canary{At: now, Error: "refused"} },
			condition.SPIRECanaryMint, condition.Failure},
		{"canaries that stopped", func(f *condition.SPIREFigures) { f.Attestation.At = now.Add(-time.Minute) },
			condition.SPIRECanaryAttestation, condition.Failure},
		{"no canary yet", func(f *condition.SPIREFigures) { f.Mint = condition.Canary{} },
			condition.SPIRECanaryMint, condition.Unknown},
		{"a plugin that dies", func(f *condition.SPIREFigures) { f.Starts["composer"] = 9 },
			condition.SPIREPlugins, condition.Warning},
		{"no plugin yet", func(f *condition.SPIREFigures) { f.Starts = nil }, condition.SPIREPlugins, condition.Unknown},
		{"observe", func(f *condition.SPIREFigures) { f.Observed = true }, condition.SPIREUnattested, condition.Warning},
		{"an OID for examples", func(f *condition.SPIREFigures) { f.OID = "1.3.6.1.4.1.32473.1.1" },
			condition.SPIREExtension, condition.Warning},
		{"no controller wanted", func(f *condition.SPIREFigures) { f.Controlled = false },
			condition.SPIREController, condition.Warning},
		{"nothing of SPIRE", func(f *condition.SPIREFigures) { f.Enabled, f.Connected = false, false },
			condition.SPIREController, condition.OK},
	} {
		t.Run(row.name, func(t *testing.T) {
			figures := sound
			figures.Starts = map[string]int{"composer": 1}
			row.change(&figures)
			found := figures.Findings()
			if len(found) != len(condition.SPIREIDs) {
				t.Errorf("got %d findings, want one for each of %d", len(found), len(condition.SPIREIDs))
			}
			for _, one := range found {
				want := condition.OK
				if one.ID == row.id {
					want = row.want
				} else if !figures.Controlled || !figures.Enabled {
					continue
				}
				if one.Severity != want {
					t.Errorf("%s is %s (%s), want %s", one.ID, one.Severity, one.Detail, want)
				}
			}
		})
	}
}
