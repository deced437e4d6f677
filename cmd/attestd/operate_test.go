package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	whynot "github.com/attestd/attestd/internal/why"
)

// TestDocsWhyListsEveryCode: a code that somebody reads at night must be on the page.
func TestDocsWhyListsEveryCode(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operate", "why.md"))
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		listed = append(listed, row[1])
	}
	codes := whynot.Codes()
	slices.Sort(codes)
	slices.Sort(listed)
	if !slices.Equal(codes, listed) {
		t.Errorf("docs/operate/why.md has %q, the code %q", listed, codes)
	}
}

// TestDocsOperatorsPagesAreRun holds the commands of pages against the scripts that run them on a real
// daemon: there the names are those of its machines.
func TestDocsOperatorsPagesAreRun(t *testing.T) {
	const local = "operate_pages.txtar"
	for _, page := range []struct {
		name, script string
		least        int
	}{
		{"operate/first-hour.md", "first_hour.txtar", 18},
		{"howto/enrol.md", local, 9},
		{"operate/operators.md", local, 6},
		{"operate/why.md", local, 2},
		{"explain/audit.md", local, 3},
	} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", filepath.FromSlash(page.name)))
		if err != nil {
			t.Fatal(err)
		}
		script, err := os.ReadFile(filepath.Join("testdata", "script", page.script))
		if err != nil {
			t.Fatal(err)
		}
		there := strings.NewReplacer("/var/lib/attestd/", "state/", "/backup/", "backup/", "/elsewhere/", "elsewhere/",
			"sudo ", "", "https://attestd.example.org:8422", "$(cat admin-url)")
		if page.script == "first_hour.txtar" {
			there = strings.NewReplacer("spiffe://example.org/agent/web-1", "$ID",
				"spiffe://example.org/agent/web-2", "$ID", "/var/lib/attestd/", "state/")
		}
		commands := 0
		for index, block := range strings.Split(string(text), "```") {
			if index%2 == 0 {
				continue
			}
			for line := range strings.Lines(strings.TrimSpace(block)) {
				command := there.Replace(strings.TrimSpace(line))
				if !strings.HasPrefix(command, "attestd ") {
					continue // of other programs, such as a cloud's
				}
				commands++
				if !strings.Contains(string(script), command) {
					t.Errorf("%s: %s does not run %q", page.name, page.script, command)
				}
			}
		}
		if commands < page.least {
			t.Errorf("found %d commands on %s, want %d at least", commands, page.name, page.least)
		}
	}
}
