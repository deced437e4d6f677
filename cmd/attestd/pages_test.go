package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestDocsPagesNameCommandsThatExist: what a page tells people to type is taken by the commands, flag
// by flag. A page that is wrong here is found out at night, by whoever is on call.
func TestDocsPagesNameCommandsThatExist(t *testing.T) {
	pages := []string{"../../README.md", "../../CONTRIBUTING.md", "../../SECURITY.md"}
	err := filepath.WalkDir("../../docs", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") && !strings.HasSuffix(path, "reference/cli.md") { // made from them
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, block := range strings.Split(string(text), "```") {
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
