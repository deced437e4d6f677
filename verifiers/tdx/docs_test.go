package tdx_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/attestd/attestd"
)

// TestThePageNamesEveryCheck keeps the page as the code is.
func TestThePageNamesEveryCheck(t *testing.T) {
	text, err := os.ReadFile("../../docs/verifiers/tdx.md")
	if err != nil {
		t.Fatal(err)
	}
	page, last := string(text), -1
	known := map[string]bool{}
	for _, spec := range newVerifier(t).Checks() {
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
	for _, id := range regexp.MustCompile("`tdx/[a-z0-9-]+`").FindAllString(page, -1) {
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
	want := map[attestd.Rule][]attestd.Kind{
		attestd.RuleFlag: {attestd.KindBool}, attestd.RuleOneOf: {attestd.KindText, attestd.KindUint},
		attestd.RuleAtLeast: {attestd.KindUint}, attestd.RuleAtMost: {attestd.KindUint},
		attestd.RuleDigest: {attestd.KindBytes}, attestd.RuleFloor: {attestd.KindComponents},
		attestd.RuleNoneOf: {attestd.KindText, attestd.KindBytes},
	}
	for _, spec := range v.Checks() {
		if spec.Stage != attestd.StageAppraise {
			continue
		}
		fits := false
		for _, kind := range want[spec.Rule] {
			fits = fits || facts[spec.Fact] == kind
		}
		if !fits {
			t.Errorf("%s compares %q, of kind %v", spec.ID, spec.Fact, facts[spec.Fact])
		}
	}
}

// TestTextsFitALine keeps what people read within 100 columns of ASCII, a label included.
func TestTextsFitALine(t *testing.T) {
	short := func(owner, text string, limit int) {
		if len(text) > limit {
			t.Errorf("%s: %d characters, want at most %d: %s", owner, len(text), limit, text)
		}
		for _, r := range text {
			if r < ' ' || r > '~' {
				t.Errorf("%s: %q is not ASCII", owner, r)
			}
		}
	}
	for _, spec := range newVerifier(t).Checks() {
		short(string(spec.ID), spec.Hint, 92)
		short(string(spec.ID), spec.Proves, 92)
		short(string(spec.ID), spec.Why, 92)
		short(string(spec.ID), spec.Spec, 72)
	}
	for _, fact := range newVerifier(t).Facts() {
		short(fact.Name, fact.Meaning, 120)
	}
}
