package azurevtpm_test

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
	text, err := os.ReadFile("../../docs/verifiers/azure-vtpm.md")
	if err != nil {
		t.Fatal(err)
	}
	page, last := string(text), -1
	known := map[string]bool{}
	for _, spec := range forgedVerifier(t).Checks() {
		known[string(spec.ID)] = true
		at := strings.Index(page, "| `"+string(spec.ID)+"` |")
		if at < 0 {
			t.Errorf("the page has no row for %s", spec.ID)
		} else if at < last {
			t.Errorf("%s stands out of its order", spec.ID)
		}
		last = max(last, at)
	}
	for _, id := range regexp.MustCompile("`azure-vtpm/[a-z0-9-]+`").FindAllString(page, -1) {
		if !known[strings.Trim(id, "`")] {
			t.Errorf("the page names %s, which is no check", id)
		}
	}
}

// TestEveryCheckHasItsFact: a rule over a fact of another kind would refuse everything.
func TestEveryCheckHasItsFact(t *testing.T) {
	t.Parallel()
	v := forgedVerifier(t)
	facts := map[string]attestd.Kind{}
	for _, fact := range v.Facts() {
		facts[fact.Name] = fact.Kind
	}
	want := map[attestd.Rule]attestd.Kind{attestd.RuleFlag: attestd.KindBool,
		attestd.RuleOneOf: attestd.KindText, attestd.RuleDigest: attestd.KindBytes}
	for _, spec := range v.Checks() {
		if spec.Stage == attestd.StageAppraise && facts[spec.Fact] != want[spec.Rule] {
			t.Errorf("%s compares %q, of kind %v", spec.ID, spec.Fact, facts[spec.Fact])
		}
	}
}

// TestInspectShowsEveryPart: decoded and not believed, and a part that cannot be read hides no other.
func TestInspectShowsEveryPart(t *testing.T) {
	t.Parallel()
	v := forgedVerifier(t)
	look := func(s *scene) map[string]attestd.InspectedField {
		shown, err := v.Inspect(s.build().Evidence)
		s.fatal(err)
		out := map[string]attestd.InspectedField{}
		for _, field := range shown.Fields {
			out[field.Name] = field
		}
		return out
	}
	got := look(newScene(t, false))
	for _, name := range []string{"hcl.version", "hcl.runtime_hash", "hcl.ak_sha256", "hcl.vm.vmUniqueId",
		"certificate.0", "cpu.vmpl", "vtpm.quote.extra_data"} {
		if got[name].Value == "" {
			t.Errorf("SNP: no %s", name)
		}
	}
	got = look(newScene(t, true))
	if got["hcl.td_report"].Value == "" || got["cpu"].Note == "" {
		t.Errorf("TDX: %v, %v", got["hcl.td_report"], got["cpu"])
	}
	broken := newScene(t, true)
	broken.raw = func(report []byte) []byte { report[0] = 0; return report }
	if got = look(broken); !strings.Contains(got["hcl"].Note, "unreadable") ||
		got["vtpm.quote.extra_data"].Value == "" {
		t.Errorf("a broken report: %v", got["hcl"])
	}
	claims := newScene(t, false)
	claims.claims.JSON = []byte("{}")
	if got = look(claims); !strings.Contains(got["hcl.runtime"].Note, "unreadable") {
		t.Errorf("broken claims: %v", got["hcl.runtime"])
	}
}
