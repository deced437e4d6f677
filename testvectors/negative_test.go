package testvectors_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	rowNumbers  = regexp.MustCompile(`\bneg:\s*"?([0-9][0-9, ]*)`)
	reasonEntry = regexp.MustCompile(`(?m)^- ([0-9]+): (.+)$`)
)

// catalogueDue lists the numbers of the catalogue of negative cases that touch what exists: all.
func catalogueDue() []int {
	due := make([]int, 200)
	for index := range due {
		due[index] = index + 1
	}
	return due
}

// TestNegativeCasesAreCovered wants a test row, marked by its number, or a written reason for each
// due number, and no reason that a row has made stale.
func TestNegativeCasesAreCovered(t *testing.T) {
	rows := map[int][]string{}
	collectRows(t, "..", rows)
	text, err := os.ReadFile("negative/README.md")
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[int]string{}
	for _, match := range reasonEntry.FindAllStringSubmatch(string(text), -1) {
		number, err := strconv.Atoi(match[1])
		if err != nil || reasons[number] != "" {
			t.Errorf("reason %q: no number, or a second time", match[0])
		}
		reasons[number] = match[2]
	}
	covered, written := 0, 0
	due := catalogueDue()
	for _, number := range due {
		switch {
		case len(rows[number]) > 0 && reasons[number] != "":
			t.Errorf("case %d has the row in %s and a reason why it has none", number, rows[number][0])
		case len(rows[number]) > 0:
			covered++
		case reasons[number] != "":
			written++
		default:
			t.Errorf("case %d has neither a test row nor a reason in negative/README.md", number)
		}
	}
	for number := range reasons {
		if !slices.Contains(due, number) {
			t.Errorf("negative/README.md has a reason for case %d, which is not due", number)
		}
	}
	t.Logf("negative cases: %d of %d covered by rows, %d with a written reason", covered, len(due), written)
}

// collectRows notes every file that marks a row with a number: tests, and records of vectors.
func collectRows(t *testing.T, root string, rows map[int][]string) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && name != root && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, "_test.go") && !strings.HasSuffix(name, ".vector") &&
			!strings.HasSuffix(name, ".log") && !strings.HasSuffix(name, ".txtar") {
			return nil
		}
		if filepath.Base(name) == "negative_test.go" {
			return nil // this file speaks of numbers without testing them
		}
		text, err := os.ReadFile(name) //nolint:gosec // a file of the repository
		if err != nil {
			return err
		}
		for _, match := range rowNumbers.FindAllStringSubmatch(string(text), -1) {
			for _, part := range strings.FieldsFunc(match[1], func(r rune) bool { return r == ',' || r == ' ' }) {
				number, err := strconv.Atoi(part)
				if err != nil {
					return fmt.Errorf("%s: %q: %w", name, match[0], err)
				}
				rows[number] = append(rows[number], name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
