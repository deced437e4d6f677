package admin_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestd/attestd/internal/admin"
)

// TestTheReferenceHasEveryRoute compares the page for programs with the table of routes.
func TestTheReferenceHasEveryRoute(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "admin-api.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, row := range admin.Rows() {
		request, who, _ := strings.Cut(row.String(), ": ")
		if len(row.Query) != 0 {
			request += "?" + strings.Join(row.Query, "&")
		}
		fmt.Fprintf(&want, "| `%s` | %s | `%s` |\n", request, who, row.Action)
	}
	_, table, found := strings.Cut(string(page), "|---|---|---|\n")
	if table, _, _ = strings.Cut(table, "\n\n"); !found || strings.TrimRight(table, "\n")+"\n" != want.String() {
		t.Errorf("docs/reference/admin-api.md does not have the table of routes; it is\n%s", want.String())
	}
}
