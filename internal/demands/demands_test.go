package demands_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/attestd/attestd/internal/demands"
)

var update = flag.Bool("update", false, "write docs/demands.md anew")

const root = "../.."

func TestThePageIsTheTable(t *testing.T) {
	path := filepath.Join(root, "docs", "demands.md")
	if *update {
		if err := os.WriteFile(path, []byte(demands.Page()), 0o644); err != nil { //nolint:gosec // a page
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(path)
	if err != nil || string(page) != demands.Page() {
		t.Errorf("docs/demands.md differs from the table (%v): make docs", err)
	}
}

var idForm = regexp.MustCompile(`^S-\d\d$`)

func TestEachDemandNamesWhatThereIs(t *testing.T) {
	seen := map[string]bool{}
	for _, one := range demands.Demands() {
		if !idForm.MatchString(one.ID) || seen[one.ID] || one.Demand == "" || one.Note == "" {
			t.Errorf("%s stands twice, or says nothing", one.ID)
		}
		seen[one.ID] = true
		switch one.State {
		case demands.Met, demands.Part:
			if len(one.Tests)+len(one.Pages) == 0 {
				t.Errorf("%s is met by nothing", one.ID)
			}
		case demands.Later, demands.Other:
		default:
			t.Errorf("%s has no state", one.ID)
		}
		for _, page := range one.Pages {
			if info, err := os.Stat(filepath.Join(root, page)); err != nil || info.IsDir() {
				t.Errorf("%s names the page %s, which is not there", one.ID, page)
			}
		}
		for _, test := range one.Tests {
			folder, name, _ := strings.Cut(test, ":")
			if !declares(t, filepath.Join(root, folder), name) {
				t.Errorf("%s names %s, which %s does not have", one.ID, name, folder)
			}
		}
	}
	if len(seen) != 52 {
		t.Errorf("%d demands, want 52", len(seen))
	}
}

// declares reports whether a test file of the folder has the function.
func declares(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file) //nolint:gosec // of this tree
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(source), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}
