package report_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/internal/report/schema"
)

// TestTwoDevicesAreTwoFindings: what fails on both is told of both, in every form.
func TestTwoDevicesAreTwoFindings(t *testing.T) {
	var junit, sarif bytes.Buffer
	if err := report.JUnit(&junit, composed(), about()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`name="roots/pinned of cpu"`, `name="roots/pinned of vtpm"`, `name="device_vtpm" value="tpm accepted, risk 60 medium"`,
		`name="weakest_edge" value="simultaneous"`,
	} {
		if !strings.Contains(junit.String(), want) {
			t.Errorf("JUnit has no %s:\n%s", want, junit.String())
		}
	}
	lookup := func(attestd.CheckID) (report.Rule, bool) { return report.Rule{}, false }
	if err := report.SARIF(&sarif, composed(), about(), "", lookup); err != nil {
		t.Fatal(err)
	}
	var log struct {
		Runs []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct {
				RuleIndex           int
				Message             struct{ Text string }
				PartialFingerprints map[string]string
			}
			Properties struct {
				WeakestEdge string
				Devices     map[string]struct{ Format string }
			}
		}
	}
	if err := json.Unmarshal(sarif.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	if len(run.Tool.Driver.Rules) != 1 || len(run.Results) != 2 || run.Properties.WeakestEdge != "simultaneous" ||
		run.Properties.Devices["cpu"].Format != "sev-snp" {
		t.Fatalf("got %+v", run)
	}
	marks := map[string]bool{}
	for i, device := range []string{"cpu", "vtpm"} {
		one := run.Results[i]
		marks[one.PartialFingerprints["evidenceAndCheck/v1"]] = true
		if one.RuleIndex != 0 || !strings.HasPrefix(one.Message.Text, device+": ") {
			t.Errorf("got %+v, want one of %s", one, device)
		}
	}
	if len(marks) != 2 {
		t.Errorf("two results have one fingerprint: %v", marks)
	}
}

// TestTheSchemaKnowsDevices: a composed verdict is one, and a device with more or less than that is none.
func TestTheSchemaKnowsDevices(t *testing.T) {
	document, err := schema.Document("attestd.verdict.v1")
	if err != nil {
		t.Fatal(err)
	}
	read, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("urn:x", read); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("urn:x")
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		change func(*attestd.Appraisal)
		good   bool
	}{
		"as it is":             {func(*attestd.Appraisal) {}, true},
		"a path that is none":  {func(a *attestd.Appraisal) { a.Devices[0].Path = "C P U" }, false},
		"a format that is not": {func(a *attestd.Appraisal) { a.Devices[0].Format = "sgx" }, false},
		"claims of no object":  {func(a *attestd.Appraisal) { a.Devices[0].Claims = json.RawMessage("[]") }, false},
		"a check of no device": {func(a *attestd.Appraisal) { a.Checks[1].Device = "a/b" }, false},
		"an edge from no path": {func(a *attestd.Appraisal) { a.Edges[0].From = "" }, false},
	} {
		given := composed()
		row.change(&given)
		written, err := json.Marshal(given)
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(written))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiled.Validate(value); (err == nil) != row.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
