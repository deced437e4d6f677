package subject_test

import (
	"encoding/json"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// TestABootOfTheProcessorDoesNotMakeCountsPlain: the boot may be named by the processor, while the
// TPM's key is of the owner hierarchy, which hides the counts behind an offset of its own. Compared
// between two keys they would prove a copy where there is none.
func TestABootOfTheProcessorDoesNotMakeCountsPlain(t *testing.T) {
	for hierarchy, plain := range map[string]bool{"endorsement": true, "owner": false, "": false} {
		one := verdict()
		one.Format = attestd.FormatComposite
		one.Handles[1].Value = "00ff"
		view, err := json.Marshal(map[string]any{
			"clock": 1234, "clock_safe": true, "reset_count": 7, "ak_hierarchy": hierarchy,
		})
		if err != nil {
			t.Fatal(err)
		}
		one.Devices = []attestd.DeviceAppraisal{
			{Path: "cpu", Format: attestd.FormatSEVSNP, Claims: json.RawMessage("{}")},
			{Path: "vtpm", Format: attestd.FormatTPM, Claims: view},
		}
		seen := subject.Observe(one)
		if seen.Clock == nil || seen.Clock.Plain != plain || seen.Boot != "00ff" {
			t.Errorf("hierarchy %q: %+v, boot %q", hierarchy, seen.Clock, seen.Boot)
		}
	}
}

// TestAnotherFormatIsNoRebirth: one boot has a name by the TPM's count and one by the processor's report.
// Whoever chooses the format, or the hierarchy of the TPM's key, chooses which of them is seen.
func TestAnotherFormatIsNoRebirth(t *testing.T) {
	for name, row := range map[string]struct {
		held, boot string
		want       bool
	}{
		"from the count to the report":       {"ek:a/4", "00ff", false},
		"from the report to the count":       {"00ff", "ek:a/4", false},
		"from an Azure count to the report":  {"azure:a/4", "00ff/4", false},
		"and back":                           {"00ff/4", "azure:a/9", false},
		"the report without its count":       {"00ff/4", "00ff", false},
		"and with it again":                  {"00ff", "00ff/4", false},
		"another report":                     {"00ff/4", "11ee/4", true},
		"another report, and no count":       {"00ff/4", "11ee", true},
		"the same report and a higher count": {"00ff/4", "00ff/5", true},
	} {
		if got := subject.Reborn(row.held, row.boot); got != row.want {
			t.Errorf("%s: got %v, want %v", name, got, row.want)
		}
	}
}

// TestOneMachineInTwoFormatsIsNoCopy: it answers as a TPM and as a composite in turn, within one boot.
func TestOneMachineInTwoFormatsIsNoCopy(t *testing.T) {
	m := newMachine(t)
	for _, boot := range []string{"ek:a/4", "00ff", "ek:a/4", "00ff"} {
		seen := m.seen()
		seen.Boot, seen.Clock = boot, nil
		m.observe(seen)
	}
	if len(m.row.Signals) != 0 || m.row.State != attestd.StateTrusted {
		t.Errorf("%s: %+v", m.row.State, m.row.Signals)
	}
	// A boot of the same kind in between is another boot: then the first is a copy's.
	for _, boot := range []string{"ek:a/5", "00ff", "ek:a/4"} {
		seen := m.seen()
		seen.Boot, seen.Clock = boot, nil
		m.observe(seen)
	}
	if len(m.row.Signals) == 0 {
		t.Error("a boot came back after another, and nobody is suspect")
	}
}

// TestANameThatNobodyVouchesForIsNobodys: a trust domain has no signer. Unless its own measurement is
// known and nobody looks into it, whoever has a machine of that make states any machine's name.
func TestANameThatNobodyVouchesForIsNobodys(t *testing.T) {
	known := attestd.Check{ID: "measurement/known", Device: "cpu", Result: attestd.ResultPass}
	with := func(change func(*attestd.Check)) attestd.Check {
		out := known
		change(&out)
		return out
	}
	for name, row := range map[string]struct {
		claims, cpu string
		check       attestd.Check
		hearsay     bool
	}{
		"its measurement is known": {`{"paravisor_signer":"td"}`, `{"debug":false}`, known, false},
		"nobody asked": {`{"paravisor_signer":"td"}`, `{"debug":false}`,
			with(func(c *attestd.Check) { c.Result = attestd.ResultNotApplicable }), true},
		"it is unknown, and scored": {`{"paravisor_signer":"td"}`, `{"debug":false}`,
			with(func(c *attestd.Check) { c.Result = attestd.ResultFail }), true},
		"the TPM's is known": {`{"paravisor_signer":"td"}`, `{"debug":false}`,
			with(func(c *attestd.Check) { c.Device = "vtpm" }), true},
		"somebody looks into it":  {`{"paravisor_signer":"td"}`, `{"debug":true}`, known, true},
		"debugging is not stated": {`{"paravisor_signer":"td"}`, `{}`, known, true},
		"Azure signed it": {`{"paravisor_signer":"azure"}`, `{"debug":false}`,
			with(func(c *attestd.Check) { c.Result = attestd.ResultNotApplicable }), false},
	} {
		one := verdict()
		one.Format, one.Claims = attestd.FormatAzureVTPM, json.RawMessage(row.claims)
		one.Devices = []attestd.DeviceAppraisal{
			{Path: "cpu", Format: attestd.FormatTDX, Claims: json.RawMessage(row.cpu)},
			{Path: "vtpm", Format: attestd.FormatTPM, Claims: json.RawMessage("{}")},
		}
		one.Edges = []attestd.Edge{{From: "cpu", To: "vtpm", Grade: attestd.GradeCryptographic}}
		one.Checks = []attestd.Check{row.check}
		seen := subject.Observe(one)
		if seen.Hearsay != row.hearsay {
			t.Errorf("%s: hearsay %v", name, seen.Hearsay)
		}
		m := newMachine(t)
		mine := m.seen()
		mine.Hearsay = row.hearsay
		if moved := !m.observe(mine).Write.Empty(); moved == row.hearsay {
			t.Errorf("%s: accepted, and moved %v", name, moved)
		}
	}
}
