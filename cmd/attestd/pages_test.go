package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
)

// TestDocsPagesNameCommandsThatExist: what a page tells people to type is taken by the commands, flag
// by flag. A page that is wrong here is found out at night, by whoever is on call.
func TestDocsPagesNameCommandsThatExist(t *testing.T) {
	count := 0
	pages := readPages(t)
	for page, text := range pages {
		if strings.HasSuffix(page, "reference/cli.md") {
			continue // made from the commands
		}
		for i, block := range strings.Split(text, "```") {
			if i%2 == 0 {
				continue // between blocks
			}
			for _, line := range strings.Split(strings.ReplaceAll(block, "\\\n", " "), "\n") {
				typed, ok := strings.CutPrefix(strings.TrimPrefix(line, "$ "), "attestd ")
				if !ok {
					continue
				}
				count++
				if err := takes(testRoot(), typed); err != nil {
					t.Errorf("%s: attestd %s: %v", page, typed, err)
				}
			}
		}
	}
	if count < 20 {
		t.Errorf("looked at %d commands of %d pages, want 20 at least", count, len(pages))
	}
}

// takes reads a command line as far as its flags and the number of its arguments.
func takes(root *cobra.Command, typed string) error {
	words := strings.Fields(typed)
	for i, word := range words {
		if word == "#" || word == "|" || word == ">" || word == "&" {
			words = words[:i]
			break
		}
		if before, ends := strings.CutSuffix(word, ";"); ends {
			words = append(words[:i], before)
			break
		}
	}
	command, rest, err := root.Find(words)
	if err != nil {
		return err
	}
	if err := command.ParseFlags(rest); err != nil {
		return err
	}
	return command.ValidateArgs(command.Flags().Args())
}

func readPages(t *testing.T) map[string]string {
	t.Helper()
	names := []string{"../../README.md", "../../CONTRIBUTING.md", "../../SECURITY.md"}
	err := filepath.WalkDir("../../docs", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string]string{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		pages[name] = string(text)
	}
	return pages
}

var (
	pageLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// TestDocsLinksLeadSomewhere: a link to a page or a section of ours has it at its end.
func TestDocsLinksLeadSomewhere(t *testing.T) {
	pages, count := readPages(t), 0
	for page, text := range pages {
		for _, link := range pageLink.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(link[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			count++
			path := page
			if target != "" {
				path = filepath.ToSlash(filepath.Join(filepath.Dir(page), filepath.FromSlash(target)))
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s links to %s, which is not there", page, link[1])
			} else if anchor != "" && !hasSection(pages[path], anchor) {
				t.Errorf("%s links to %s: that page has no such section", page, link[1])
			}
		}
	}
	if count < 40 {
		t.Errorf("looked at %d links, want 40 at least", count)
	}
	t.Logf("%d links of %d pages", count, len(pages))
}

// hasSection compares an anchor with what GitHub makes of headings.
func hasSection(text, anchor string) bool {
	for _, found := range heading.FindAllStringSubmatch(text, -1) {
		made := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, found[1])
		if made == anchor {
			return true
		}
	}
	return false
}
