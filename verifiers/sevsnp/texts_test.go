package sevsnp_test

import "testing"

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
		short(string(spec.ID), spec.Spec, 60)
	}
	for _, fact := range newVerifier(t).Facts() {
		short(fact.Name, fact.Meaning, 92)
	}
}
