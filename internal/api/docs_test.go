package api_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/attestd/attestd/internal/api"
)

func TestEveryPathAndEveryProblemIsDocumented(t *testing.T) {
	read, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(read)
	for _, row := range api.Routes() {
		if want := fmt.Sprintf("| `%s %s` |", row[0], row[1]); !strings.Contains(page, want) {
			t.Errorf("docs/api.md has no row %s", want)
		}
	}
	for kind, row := range api.ProblemTypes() {
		if want := fmt.Sprintf("| %d | `%s` | `%s` |", row[0], row[1], kind); !strings.Contains(page, want) {
			t.Errorf("docs/api.md has no row %s", want)
		}
	}
	if got, want := strings.Count(page, "| `urn:attestd:problem:"), len(api.ProblemTypes()); got != want {
		t.Errorf("docs/api.md has %d rows of problems, want %d", got, want)
	}
}
