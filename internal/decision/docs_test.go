package decision_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/attestd/attestd/internal/decision"
)

var update = flag.Bool("update", false, "write the generated pages anew")

func TestDocsHaveTheReasons(t *testing.T) {
	var out strings.Builder
	out.WriteString(`# Reasons of denials

Why a question was denied, by its code: the first reason of an answer decided. The page is generated
(make docs). The status is what forward-auth and ext_authz answer with; over AuthZEN a denial is an answer
with status 200. Techniques are those of MITRE ATLAS 5.6 that such a denial suggests; a record says
"suspected" of them.

| Code | Status | Says | What to do | ATLAS |
|---|---|---|---|---|
`)
	for _, one := range decision.Specs() {
		atlas := strings.Join(one.ATLAS, ", ")
		if atlas == "" {
			atlas = "-"
		}
		fmt.Fprintf(&out, "| `%s` | %d | %s | %s | %s |\n", one.Code, one.Status, one.Meaning, one.Remedy, atlas)
	}
	same(t, "../../docs/reference/reasons.md", out.String())
}

func TestDocsHaveTheGates(t *testing.T) {
	const path = "../../docs/decisions/gates.md"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("<!-- gates -->\n| | Gate | Demands that |\n|---|---|---|\n")
	for i, one := range decision.Gates() {
		fmt.Fprintf(&table, "| %d | %s | %s |\n", i+1, one.Name, one.Demands)
	}
	table.WriteString("<!-- end -->")
	before, rest, found := strings.Cut(string(page), "<!-- gates -->")
	_, after, closed := strings.Cut(rest, "<!-- end -->")
	if !found || !closed {
		t.Fatal("the page has no place for the table")
	}
	same(t, path, before+table.String()+after)
}

func same(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // a page
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path) //nolint:gosec // of this tree
	if err != nil || string(got) != want {
		t.Errorf("%s differs from the code (%v): make docs", path, err)
	}
}
