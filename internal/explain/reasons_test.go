package explain_test

import (
	"strings"
	"testing"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/explain"
)

// TestEveryReasonOfADenialIsExplained: what an answer, a record or a header of a proxy says can be looked
// up, in words of its own, and no gate is said to be a policy's to open.
func TestEveryReasonOfADenialIsExplained(t *testing.T) {
	specs, seen := decision.Specs(), map[string]decision.Code{}
	if len(specs) < 30 {
		t.Fatalf("%d codes", len(specs))
	}
	for _, spec := range specs {
		entry, ok := explain.Lookup(string(spec.Code))
		if !ok || entry.Kind != explain.KindReason || entry.Hint != spec.Remedy || !strings.Contains(entry.Title, spec.Meaning) {
			t.Errorf("%s is not explained: %+v", spec.Code, entry)
			continue
		}
		words, _, _ := strings.Cut(entry.Why, " Proxies are answered")
		if strings.HasPrefix(words, "A decision is denied for it") {
			t.Errorf("%s has no words of its own", spec.Code)
		}
		if prior, twice := seen[words]; twice {
			t.Errorf("%s is explained as %s is", spec.Code, prior)
		}
		seen[words] = spec.Code
		for _, technique := range spec.ATLAS {
			if !strings.Contains(entry.Why, technique) {
				t.Errorf("%s does not name %s", spec.Code, technique)
			}
		}
	}
}
