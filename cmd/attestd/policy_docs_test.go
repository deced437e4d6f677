package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocsOfPoliciesShowWhatIsPrinted runs the commands of docs/decisions/policies.md, in a folder with the
// policies of testdata/policy/acme, those that are to follow, cases, and records of decisions. -update
// writes what they print into the page.
func TestDocsOfPoliciesShowWhatIsPrinted(t *testing.T) {
	page, err := filepath.Abs(filepath.Join("..", "..", "docs", "decisions", "policies.md"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	records, work := week(t), t.TempDir()
	for name, from := range map[string]string{"policies": "testdata/policy/acme", "policies.new": "testdata/policy/acme-next"} {
		if err := os.CopyFS(filepath.Join(work, name), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(work, "decisions"), os.DirFS(records)); err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```")
	for i, block := range blocks {
		if document, yes := strings.CutPrefix(block, "yaml\nschema: attestd.policy-cases.v1"); yes && i%2 == 1 {
			put(t, work, "cases.yaml", "schema: attestd.policy-cases.v1"+document)
		}
	}
	t.Chdir(work)
	ran := 0
	for i, block := range blocks {
		if i%2 == 0 || !strings.HasPrefix(block, "console\n") {
			continue
		}
		var now strings.Builder
		now.WriteString("console\n")
		for line := range strings.SplitSeq(block, "\n") {
			typed, command := strings.CutPrefix(line, "$ attestd ")
			if !command {
				continue
			}
			ran++
			_, stdout, stderr := runAt("", strings.Fields(typed)...)
			now.WriteString(line + "\n" + stdout.String() + stderr.String())
		}
		if now.String() != block && !*update {
			t.Errorf("the page shows\n%s\nand the commands print\n%s", block, now.String())
		}
		blocks[i] = now.String()
	}
	if ran < 4 {
		t.Errorf("%d commands were run", ran)
	}
	if *update {
		if err := os.WriteFile(page, []byte(strings.Join(blocks, "```")), 0o644); err != nil { //nolint:gosec // a page
			t.Fatal(err)
		}
	}
}
