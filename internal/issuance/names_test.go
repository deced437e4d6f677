package issuance_test

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/attestd/attestd/internal/issuance"
)

var wordForm = regexp.MustCompile(`^(?:[a-z0-9._-]|%[0-9A-F]{2})*$`)

// TestNoValueForgesAnother: neg: 199
func TestNoValueForgesAnother(t *testing.T) {
	for value, want := range map[string]string{
		"web-1.2_x":       "web-1.2_x",
		"tier:low":        "tier%3Alow",
		"a\nattestd:x":    "a%0Aattestd%3Ax",
		"Web":             "%57eb",
		"50%":             "50%25",
		"a/b":             "a%2Fb",
		"ä":               "%C3%A4",
		"\x00":            "%00",
		"":                "",
		"%3A":             "%253%41",
		"trusted,tier:lo": "trusted%2Ctier%3Alo",
	} {
		if got := issuance.Escape(value); got != want {
			t.Errorf("%q is written %q, want %q", value, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		if rapid.Bool().Draw(t, "long") {
			prefix := strings.Repeat("x", 90)
			a, b = prefix+a, prefix+b
		}
		x, y := issuance.Word(a), issuance.Word(b)
		if !wordForm.MatchString(x) || len(x) > 240 {
			t.Fatalf("%q is written %q", a, x)
		}
		if (x == y) != (a == b) {
			t.Fatalf("%q and %q are written %q and %q", a, b, x, y)
		}
	})
	long := strings.Repeat("x", 100)
	cut := issuance.Word(long)
	if issuance.Word(cut) == cut || issuance.Word(long[:40]+"%2E"+cut[43:]) == cut {
		t.Error("a value that is written as a long one is taken for it")
	}
}
