package tpm_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/attestd/attestd"
)

// TestThePageNamesEveryCheck keeps the page as the code is.
func TestThePageNamesEveryCheck(t *testing.T) {
	v := newVerifier(t)
	text, err := os.ReadFile("../../docs/verifiers/tpm.md")
	if err != nil {
		t.Fatal(err)
	}
	page, last := string(text), -1
	known := map[string]bool{}
	for _, spec := range v.Checks() {
		id := "| `" + string(spec.ID) + "` |"
		known[string(spec.ID)] = true
		at := strings.Index(page, id)
		if at < 0 {
			t.Errorf("the page has no row for %s", spec.ID)
		} else if at < last {
			t.Errorf("%s stands out of its order", spec.ID)
		}
		last = max(last, at)
	}
	for _, id := range regexp.MustCompile("`tpm/[a-z0-9-]+`").FindAllString(page, -1) {
		if !known[strings.Trim(id, "`")] {
			t.Errorf("the page names %s, which is no check", id)
		}
	}
}

// TestEveryCheckHasItsFact: a policy that names a check of which the fact is of another kind would
// refuse everything.
func TestEveryCheckHasItsFact(t *testing.T) {
	v := newVerifier(t)
	facts := map[string]attestd.Kind{}
	for _, fact := range v.Facts() {
		if fact.Meaning == "" || fact.Spec == "" || facts[fact.Name] != attestd.KindNone {
			t.Errorf("fact %q is not documented, or stands twice", fact.Name)
		}
		facts[fact.Name] = fact.Kind
	}
	want := map[attestd.Rule]attestd.Kind{attestd.RuleFlag: attestd.KindBool,
		attestd.RuleOneOf: attestd.KindText, attestd.RuleCovers: attestd.KindUint,
		attestd.RuleFloor: attestd.KindComponents}
	for _, spec := range v.Checks() {
		if spec.Stage == attestd.StageAppraise && facts[spec.Fact] != want[spec.Rule] {
			t.Errorf("%s compares %q, of kind %v", spec.ID, spec.Fact, facts[spec.Fact])
		}
	}
}
