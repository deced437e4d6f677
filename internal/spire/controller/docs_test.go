package controller_test

import (
	"os"
	"strings"
	"testing"
)

// TestThePageNamesEveryKeyOfTheData, and no others.
func TestThePageNamesEveryKeyOfTheData(t *testing.T) {
	text, err := os.ReadFile("../../../docs/deploy/spire/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| Key | What it says |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	told := map[string]bool{}
	for line := range strings.Lines(table) {
		told[strings.Split(line, "`")[1]] = true
	}
	keys := published(t)["attestd"].(map[string]any)
	for key := range keys {
		if !told[key] {
			t.Errorf("%s is not on the page", key)
		}
		delete(told, key)
	}
	for key := range told {
		t.Errorf("%s is on the page and not in the data", key)
	}
}
