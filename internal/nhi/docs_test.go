package nhi_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestd/attestd/internal/nhi"
)

var update = flag.Bool("update", false, "write the table of findings into docs/inventory.md")

// TestThePageHasEveryFinding: in the order of lint, in its words; and every key of a record.
func TestThePageHasEveryFinding(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "inventory.md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const head = "| Finding | Means | What to do |\n|---|---|---|\n"
	before, rest, found := strings.Cut(string(page), head)
	_, behind, ended := strings.Cut(rest, "\nWhat is empty in a retired record")
	if !found || !ended {
		t.Fatal("docs/inventory.md has no table of findings")
	}
	var table strings.Builder
	for _, spec := range nhi.FindingSpecs() {
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", spec.Code, spec.Meaning, spec.Remedy)
	}
	want := before + head + table.String() + "\nWhat is empty in a retired record" + behind
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(page) != want {
		t.Error("docs/inventory.md has another table of findings: go test ./internal/nhi -run Page -update")
	}
	for _, name := range nhi.FieldNames() {
		if !strings.Contains(before, "`"+name+"`") {
			t.Errorf("docs/inventory.md does not have %s", name)
		}
	}
}
