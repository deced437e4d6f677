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

// TestDocsFirstHourIsRun holds the commands of the run-book against the script that runs them on a real
// daemon: there the names are those of a software TPM.
func TestDocsFirstHourIsRun(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operate", "first-hour.md"))
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(filepath.Join("testdata", "script", "first_hour.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	commands := 0
	for index, block := range strings.Split(string(page), "```") {
		if index%2 == 0 {
			continue
		}
		for command := range strings.Lines(strings.TrimSpace(block)) {
			command = strings.NewReplacer("spiffe://example.org/agent/web-1", "$ID",
				"spiffe://example.org/agent/web-2", "$ID", "/var/lib/attestd/", "state/").Replace(strings.TrimSpace(command))
			commands++
			if !strings.Contains(string(script), command) {
				t.Errorf("first_hour.txtar does not run %q", command)
			}
		}
	}
	if commands < 18 {
		t.Errorf("found %d commands on the page", commands)
	}
}
