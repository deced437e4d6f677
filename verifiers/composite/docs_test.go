package composite_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/attestd/attestd"
)

// TestThePageNamesEveryCheck keeps the page as the code is.
func TestThePageNamesEveryCheck(t *testing.T) {
	t.Parallel()
	v := newVerifier(t)
	text, err := os.ReadFile("../../docs/verifiers/composite.md")
	if err != nil {
		t.Fatal(err)
	}
	page, last := string(text), -1
	known := map[string]bool{}
	for _, spec := range v.Checks() {
		known[string(spec.ID)] = true
		at := strings.Index(page, "| `"+string(spec.ID)+"` |")
		switch {
		case at < 0:
			t.Errorf("the page has no row for %s", spec.ID)
		case at < last:
			t.Errorf("%s stands out of its order", spec.ID)
		}
		last = max(last, at)
		for _, value := range spec.Values {
			if !strings.Contains(page, "`"+value+"`") {
				t.Errorf("the page does not say that %s knows %s", spec.ID, value)
			}
		}
	}
	for _, id := range regexp.MustCompile("`composite/[a-z0-9-]+`").FindAllString(page, -1) {
		if !known[strings.Trim(id, "`")] {
			t.Errorf("the page names %s, which is no check", id)
		}
	}
	for _, fact := range v.Facts() {
		if !strings.Contains(page, "`"+fact.Name+"`") {
			t.Errorf("the page has no fact %s", fact.Name)
		}
	}
}

// TestEveryCheckHasItsFact: a policy that names a check of which the fact is of another kind would
// refuse everything.
func TestEveryCheckHasItsFact(t *testing.T) {
	t.Parallel()
	v := newVerifier(t)
	facts := map[string]attestd.Kind{}
	for _, fact := range v.Facts() {
		if fact.Meaning == "" || fact.Spec == "" || facts[fact.Name] != attestd.KindNone {
			t.Errorf("fact %q is not documented, or stands twice", fact.Name)
		}
		facts[fact.Name] = fact.Kind
	}
	for _, spec := range v.Checks() {
		if spec.Stage == attestd.StageAppraise &&
			(spec.Rule != attestd.RuleOneOf || facts[spec.Fact] != attestd.KindText) {
			t.Errorf("%s compares %q, of kind %v", spec.ID, spec.Fact, facts[spec.Fact])
		}
	}
}

// TestInspectionShowsEveryDevice: what cannot be read is said to be so, and the others are shown.
func TestInspectionShowsEveryDevice(t *testing.T) {
	t.Parallel()
	v := newVerifier(t)
	cpu, vtpm := one(t, root, guest(t)), one(t, root, chip(t, nil))
	seen, err := v.Inspect(joined(t, cpu, vtpm))
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{}
	for _, field := range seen.Fields {
		shown[field.Name] = field.Value
	}
	if seen.Format != attestd.FormatComposite || shown["cpu.format"] != "sev-snp" ||
		shown["vtpm.format"] != "tpm" || shown["cpu.chip_id"] == "" || shown["vtpm.ak.name"] == "" {
		t.Errorf("shown: %v", shown)
	}
	cpu.Evidence = cpu.Evidence[:100]
	if seen, err = v.Inspect(joined(t, cpu, vtpm)); err != nil {
		t.Fatal(err)
	}
	if note := seen.Fields[0].Note; !strings.Contains(note, "unreadable: sev-snp/size") || len(seen.Fields) < 5 {
		t.Errorf("%d fields, the first with %q", len(seen.Fields), note)
	}
}
