package figure_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestd/attestd/internal/bench/figure"
)

// TestGatesFailWhatIsBeyondThem, and only that: a bar that was missed is said.
func TestGatesFailWhatIsBeyondThem(t *testing.T) {
	for name, row := range map[string]struct {
		one   figure.Figure
		says  string
		fails bool
	}{
		"a time that is met":    {figure.AtMost("t", 9, "us", 10, 5), "met", false},
		"one that is missed":    {figure.AtMost("t", 49, "us", 10, 5), "missed", false},
		"one beyond its gate":   {figure.AtMost("t", 51, "us", 10, 5), "BEYOND", true},
		"a count that is one":   {figure.AtMost("n", 1, "", 0, 1), "BEYOND", true},
		"a count that is none":  {figure.AtMost("n", 0, "", 0, 1), "met", false},
		"a share that is met":   {figure.AtLeast("s", 1, "", 0.9999, 1.01), "met", false},
		"a share just missed":   {figure.AtLeast("s", 0.999, "", 0.9999, 1.01), "missed", false},
		"a share beyond a gate": {figure.AtLeast("s", 0.98, "", 0.9999, 1.01), "BEYOND", true},
	} {
		var out strings.Builder
		file := filepath.Join(t.TempDir(), "f", "figures.json")
		err := figure.Report(&out, []figure.Figure{row.one}, file, true)
		if (err != nil) != row.fails || !strings.Contains(out.String(), row.says) {
			t.Errorf("%s: %v, %s", name, err, out.String())
		}
		if document, err := os.ReadFile(file); err != nil || !strings.Contains(string(document), `"target"`) {
			t.Errorf("%s: %s %v", name, document, err)
		}
	}
}
