package explain_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/explain"
	"github.com/attestd/attestd/internal/judge"
)

var update = flag.Bool("update", false, "write the generated tables of docs/ instead of comparing")

// page writes markdown whose lines stay within 100 columns.
type page struct{ strings.Builder }

func (p *page) text(format string, args ...any) { p.wrap("", fmt.Sprintf(format, args...)) }

// wrap breaks text between words; a word alone may be longer.
func (p *page) wrap(indent, text string) {
	line := ""
	first := true
	flush := func() {
		if first {
			p.WriteString(line + "\n")
		} else {
			p.WriteString(indent + line + "\n")
		}
		first, line = false, ""
	}
	for _, word := range strings.Fields(text) {
		if line != "" && len(indent)+len(line)+1+len(word) > 98 {
			flush()
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	flush()
}

func (p *page) item(name, text string) {
	if text != "" {
		p.wrap("  ", "- "+name+": "+text)
	}
}

func builtins(t *testing.T) map[string]*appraisal.Policy {
	t.Helper()
	made := map[string]*appraisal.Policy{}
	for _, name := range appraisal.BuiltinNames() {
		policy, err := appraisal.Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		made[name] = policy
	}
	return made
}

func newJudge(t *testing.T) *judge.Judge {
	t.Helper()
	made, err := judge.New(judge.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func checksPage(t *testing.T) string {
	policies := builtins(t)
	out := &page{}
	out.text("# Checks")
	out.WriteString("\n")
	out.text("Generated from the tables of the code by `go test ./internal/explain -update`; " +
		"do not edit. The same texts: `attestd explain ID`.")
	out.WriteString("\n")
	out.text("Checks that are *verified* are decided by cryptography, encoding, freshness and " +
		"binding: the first that fails ends the verification, and no policy waives it. Checks that " +
		"are *appraised* compare a verified fact with what the policy wants; under each stands what " +
		"the built-in policies make of it.")
	area := ""
	for _, spec := range newJudge(t).Specs() {
		if now, _, _ := strings.Cut(string(spec.ID), "/"); now != area {
			area = now
			out.WriteString("\n## " + area + "\n")
		}
		out.WriteString("\n### " + string(spec.ID) + "\n\n")
		out.item("proves", spec.Proves)
		out.item("without it", spec.Why)
		out.item("spec", spec.Spec)
		out.item("if it fails", spec.Hint)
		out.item("class, group", string(spec.Class)+", "+string(spec.Group))
		if spec.Stage == attestd.StageVerify {
			out.item("decided by", "verification")
			continue
		}
		out.item("decided by", "appraisal of `"+spec.Fact+"`")
		for _, name := range appraisal.BuiltinNames() {
			seen := ""
			for _, format := range policies[name].Formats() {
				text, named := policies[name].Describe(format, spec.ID)
				if named && text != seen {
					out.item(name, text)
					seen = text
				}
			}
		}
	}
	out.WriteString("\n## Error classes\n\n")
	for _, entry := range explain.All() {
		if entry.Kind == explain.KindClass {
			out.wrap("  ", "- **"+entry.ID+"**: "+entry.Title+"; "+entry.Why+". "+entry.Hint+".")
		}
	}
	return out.String()
}

func claimsPage(t *testing.T) string {
	made := newJudge(t)
	facts := made.Facts()
	out := &page{}
	out.text("# Claims")
	out.WriteString("\n")
	out.text("Generated from the tables of the code by `go test ./internal/explain -update`; " +
		"do not edit.")
	out.WriteString("\n")
	out.text("The facts that verified evidence can state, by format, under the names they have in " +
		"`claims` of a verdict. A fact that this evidence cannot show is `null` there: it is not " +
		"\"no\", and satisfies no rule of a policy but `any`. Bytes are lower-case hex, times RFC 3339 " +
		"in UTC, components an object.")
	for _, format := range made.Formats() {
		out.WriteString("\n## " + string(format) + "\n\n")
		for _, fact := range facts[format] {
			out.wrap("  ", fmt.Sprintf("- `%s` (%s): %s. Spec: %s.", fact.Name, fact.Kind, fact.Meaning,
				fact.Spec))
		}
	}
	return out.String()
}

func TestGeneratedPagesAreThoseOfTheCode(t *testing.T) {
	for path, want := range map[string]string{
		"../../docs/checks.md": checksPage(t), "../../docs/claims.md": claimsPage(t),
	} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // documentation
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not what the code says; run: go test ./internal/explain -update", path)
		}
	}
}
