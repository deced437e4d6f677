package report_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/internal/report/schema"
)

func addedUp() attestd.Appraisal {
	a := accepted()
	a.Verdict, a.Tier, a.Risk = attestd.VerdictRejected, attestd.TierHigh, attestd.Risk(75)
	return a
}

func TestSARIFHasARuleForEveryResult(t *testing.T) {
	lookup := func(id attestd.CheckID) (report.Rule, bool) {
		return report.Rule{Proves: "p", Why: "w", Hint: "h"}, id != "measurement/known"
	}
	for _, row := range []struct {
		name   string
		a      attestd.Appraisal
		levels string
	}{
		{"rejected", rejected(), "error error warning"},
		{"accepted with a warning", accepted(), "warning"},
		{"undecided", undecided(), "error error warning"},
		{"added up", addedUp(), "error warning"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := report.SARIF(&out, row.a, about(), "1.2.3", lookup); err != nil {
				t.Fatal(err)
			}
			var log struct {
				Schema  string `json:"$schema"`
				Version string `json:"version"`
				Runs    []struct {
					Tool struct {
						Driver struct {
							Name  string                `json:"name"`
							Rules []struct{ ID string } `json:"rules"`
						} `json:"driver"`
					} `json:"tool"`
					Results []struct {
						RuleID    string `json:"ruleId"`
						RuleIndex int    `json:"ruleIndex"`
						Kind      string
						Level     string
						Message   struct{ Text string }
						Locations []struct {
							PhysicalLocation struct{ ArtifactLocation struct{ URI string } }
						}
					}
				}
			}
			if err := json.Unmarshal(out.Bytes(), &log); err != nil {
				t.Fatal(err)
			}
			if log.Version != "2.1.0" || len(log.Runs) != 1 || log.Runs[0].Tool.Driver.Name != "attestd" {
				t.Fatalf("not a SARIF 2.1.0 log of one run: %+v", log)
			}
			var levels []string
			run := log.Runs[0]
			for _, result := range run.Results {
				levels = append(levels, result.Level)
				if run.Tool.Driver.Rules[result.RuleIndex].ID != result.RuleID {
					t.Errorf("result %q points at rule %q", result.RuleID, run.Tool.Driver.Rules[result.RuleIndex].ID)
				}
				if result.Kind != "fail" || result.Message.Text == "" || len(result.Locations) != 1 ||
					result.Locations[0].PhysicalLocation.ArtifactLocation.URI != "report.bin" {
					t.Errorf("incomplete result %+v", result)
				}
			}
			if got := strings.Join(levels, " "); got != row.levels {
				t.Errorf("levels %q, want %q", got, row.levels)
			}
		})
	}
}

// SARIF 2.1.0, section 3.19.12: what is no semantic version may not stand as one.
func TestSARIFCallsOnlySemanticVersionsSo(t *testing.T) {
	for version, want := range map[string]string{
		"1.2.3": "1.2.3", "v0.4.2": "0.4.2", "v0.4.2-5-g9e88f87-dirty": "0.4.2-5-g9e88f87-dirty",
		"9e88f87": "", "unknown": "", "1.02.3": "", "1.2": "",
	} {
		var out bytes.Buffer
		err := report.SARIF(&out, accepted(), about(), version, func(attestd.CheckID) (report.Rule, bool) {
			return report.Rule{}, false
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(out.String(), `"semanticVersion": `); got != (want != "") ||
			got && !strings.Contains(out.String(), `"semanticVersion": "`+want+`"`) ||
			!strings.Contains(out.String(), `"version": "`+version+`"`) {
			t.Errorf("version %q: %s", version, out.String())
		}
	}
}

// Behind a comment a backslash continues nothing: the rest would be run as a command of its own.
func TestNextCommandsAreContinuedWithoutTheirComment(t *testing.T) {
	table := report.Table{Lead: []string{"DONE"}, Next: "attestd explain " + strings.Repeat("x", 30) + "   # says what"}
	for width, want := range map[int]bool{100: true, 60: false} {
		var out bytes.Buffer
		if err := table.Text(&out, report.Page{Width: width}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "# says what\n") != want || strings.Contains(out.String(), "\\\n") {
			t.Errorf("%d columns: %q", width, out.String())
		}
	}
}

func TestProblemsAreTwoLinesOrOneOfJSON(t *testing.T) {
	problem := report.Problem{
		Class: attestd.ClassMalformed, Error: "first\nsecond \x1b[2J", Hint: "do this", ExitCode: 2,
	}
	var text, doc bytes.Buffer
	if err := report.ProblemText(&text, report.Page{}, problem); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("error: first\n       second ?[2J\nhint:  do this\n", text.String()); diff != "" {
		t.Error(diff)
	}
	if err := report.ProblemJSON(&doc, problem); err != nil {
		t.Fatal(err)
	}
	if strings.Count(doc.String(), "\n") != 1 {
		t.Errorf("more than one line: %q", doc.String())
	}
	if err := obeys(t, report.ErrorSchema, doc.Bytes()); err != nil {
		t.Error(err)
	}
}

func TestQuotedArgumentsAreOneWordOfAShell(t *testing.T) {
	for _, row := range []struct{ in, want string }{
		{"report.bin", "report.bin"},
		{"a b", "'a b'"},
		{"$(rm -r x)", "'$(rm -r x)'"},
		{"it's", `'it'\''s'`},
		{"-rf", "./-rf"},
		{"-", "-"},
		{"", "''"},
		{"x\ny", "'x?y'"},
	} {
		if got := report.QuoteArg(row.in); got != row.want {
			t.Errorf("QuoteArg(%q) = %s, want %s", row.in, got, row.want)
		}
	}
}

func TestEverySchemaCompiles(t *testing.T) {
	for _, name := range schema.Names() {
		compiled(t, name)
	}
	if _, err := schema.Document("../schema"); err == nil {
		t.Error("a path was taken for a schema's name")
	}
}

// demandPage fails where a line is too long, or is not plain ASCII.
func demandPage(t *testing.T, text string, page report.Page) {
	t.Helper()
	width := max(report.MinWidth, min(report.MaxWidth, page.Width))
	if page.Width == 0 {
		width = report.MaxWidth
	}
	if page.Color {
		for _, code := range []string{"\x1b[1;31m", "\x1b[1;32m", "\x1b[1;33m", "\x1b[0m"} {
			text = strings.ReplaceAll(text, code, "")
		}
	}
	for line := range strings.SplitSeq(text, "\n") {
		if len(line) > width {
			t.Errorf("line of %d columns, want at most %d: %q", len(line), width, line)
		}
		for _, r := range line {
			if r < ' ' || r > '~' {
				t.Errorf("character %q in line %q", r, line)
			}
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func compiled(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	doc, err := schema.Document(name)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(name+".json", parsed); err != nil {
		t.Fatal(err)
	}
	out, err := compiler.Compile(name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func obeys(t *testing.T, name string, doc []byte) error {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	return compiled(t, name).Validate(value)
}
