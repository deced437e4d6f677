package subject_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/attestd/attestd/internal/subject"
)

// TestPagesHaveTheKindsAndTheDetectors compares the published tables with those that are in force.
func TestPagesHaveTheKindsAndTheDetectors(t *testing.T) {
	for _, page := range []struct{ file, begin, want string }{
		{"../../docs/decisions/signals.md", "<!-- kinds -->\n", kindsTable()},
		{"../../docs/decisions/detectors.md", "<!-- detectors -->\n", detectorsTable()},
	} {
		text, err := os.ReadFile(page.file)
		if err != nil {
			t.Fatal(err)
		}
		before, rest, found := strings.Cut(string(text), page.begin)
		got, after, closed := strings.Cut(rest, "<!-- end -->")
		if !found || !closed {
			t.Fatalf("%s has no place for the table", page.file)
		}
		if *update {
			whole := before + page.begin + page.want + "<!-- end -->" + after
			if err = os.WriteFile(page.file, []byte(whole), 0o600); err != nil {
				t.Fatal(err)
			}
		} else if got != page.want {
			t.Errorf("%s has\n%s\nwant\n%s\nhint: go test ./internal/subject -update", page.file, got, page.want)
		}
	}
}

func kindsTable() string {
	var out strings.Builder
	fmt.Fprintf(&out, "Ids are of %s (LLM), %s (ASI) and %s (AML). An id of several\nkinds stands for the first of them.\n\n",
		subject.EditionLLM, subject.EditionAgentic, subject.EditionATLAS)
	out.WriteString("| Kind | Cause | Points | OWASP | ATLAS | Meaning |\n|---|---|---|---|---|---|\n")
	for _, kind := range subject.Kinds() {
		fmt.Fprintf(&out, "| `%s` | %s | %d | %s | %s | %s |\n", kind.Code, kind.Group, kind.Points,
			strings.Join(kind.OWASP, ", "), strings.Join(kind.ATLAS, ", "), kind.Meaning)
	}
	return out.String()
}

func detectorsTable() string {
	var out strings.Builder
	out.WriteString("| Signal | Cause | Points | Counts for |\n|---|---|---|---|\n")
	for _, code := range behaviours {
		group, points, lasts, _ := subject.Behaviour(code)
		fmt.Fprintf(&out, "| `%s` | %s | %d | %s |\n", code, group, points,
			strings.TrimSuffix(strings.TrimSuffix(lasts.String(), "0s"), "0m"))
	}
	return out.String()
}
