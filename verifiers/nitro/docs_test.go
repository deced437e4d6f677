package nitro_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/nitro"
	"github.com/attestd/attestd/verifiers/nitrotpm"
)

// TestPagesNameEveryCheck keeps the pages of both formats as the code is.
func TestPagesNameEveryCheck(t *testing.T) {
	t.Parallel()
	instances, err := nitrotpm.New(nitrotpm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []verifiers.Verifier{verifier(t), instances} {
		format := string(v.Format())
		page, err := os.ReadFile("../../docs/verifiers/" + format + ".md")
		if err != nil {
			t.Fatal(err)
		}
		known := map[string]bool{}
		for _, spec := range v.Checks() {
			known[string(spec.ID)] = true
			if !strings.Contains(string(page), "`"+string(spec.ID)+"`") {
				t.Errorf("%s.md does not name %s", format, spec.ID)
			}
		}
		for _, id := range regexp.MustCompile("`"+format+"/[a-z0-9-]+`").FindAllString(string(page), -1) {
			if !known[strings.Trim(id, "`")] {
				t.Errorf("%s.md names %s, which is no check", format, id)
			}
		}
	}
}

// TestEveryCheckOfAPolicyHasItsFact: a policy that names a check of which the fact is never made would
// refuse everything, or be left out of it.
func TestEveryCheckOfAPolicyHasItsFact(t *testing.T) {
	t.Parallel()
	instances, err := nitrotpm.New(nitrotpm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var _ verifiers.Verifier = (*nitro.Verifier)(nil)
	for _, v := range []verifiers.Verifier{verifier(t), instances} {
		facts := map[string]attestd.Kind{}
		for _, fact := range v.Facts() {
			if fact.Meaning == "" || fact.Spec == "" || facts[fact.Name] != attestd.KindNone {
				t.Errorf("fact %q is not documented, or stands twice", fact.Name)
			}
			facts[fact.Name] = fact.Kind
		}
		want := map[attestd.Rule]attestd.Kind{
			attestd.RuleFlag: attestd.KindBool, attestd.RuleDigest: attestd.KindBytes,
			attestd.RuleOneOf: attestd.KindText,
		}
		for _, spec := range v.Checks() {
			if spec.Proves == "" || spec.Why == "" || spec.Spec == "" || spec.Hint == "" ||
				spec.Class == "" || spec.Group == "" {
				t.Errorf("%s is not documented", spec.ID)
			}
			if spec.Stage == attestd.StageAppraise && facts[spec.Fact] != want[spec.Rule] {
				t.Errorf("%s: fact %q is of kind %s", spec.ID, spec.Fact, facts[spec.Fact])
			}
		}
	}
}
