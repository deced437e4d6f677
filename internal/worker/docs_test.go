package worker_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/attestd/attestd/internal/worker"
)

var update = flag.Bool("update", false, "write the generated tables of docs/ instead of comparing")

const isolationPage = "../../docs/isolation.md"

// TestDocsListTheFilter: the page about isolation says what the filter does, no more and no less.
func TestDocsListTheFilter(t *testing.T) {
	page, err := os.ReadFile(isolationPage)
	if err != nil {
		t.Fatal(err)
	}
	want := replaceBlock(t, string(page), "allowed", allowedTable())
	want = replaceBlock(t, want, "fatal", fatalTable())
	if *update {
		if err := os.WriteFile(isolationPage, []byte(want), 0o644); err != nil { //nolint:gosec // a page to read
			t.Fatal(err)
		}
		return
	}
	if string(page) != want {
		t.Errorf("%s is not what the filter does; run: go test ./internal/worker -run Docs -update", isolationPage)
	}
	for number, line := range strings.Split(want, "\n") {
		if len(line) > 110 {
			t.Errorf("line %d of the page has %d columns", number+1, len(line))
		}
	}
}

func replaceBlock(t *testing.T, page, name, block string) string {
	t.Helper()
	begin, end := "<!-- "+name+": begin -->\n", "<!-- "+name+": end -->"
	head, rest, found := strings.Cut(page, begin)
	_, tail, ends := strings.Cut(rest, end)
	if !found || !ends {
		t.Fatalf("the page has no block %q", name)
	}
	return head + begin + block + end + tail
}

func allowedTable() string {
	var out strings.Builder
	out.WriteString("| Call | Why | Only |\n|---|---|---|\n")
	for _, call := range worker.Allowed() {
		fmt.Fprintf(&out, "| `%s` | %s | %s |\n", call.Name, call.Why, call.Only)
	}
	return out.String()
}

// fatalTable groups the calls that every architecture has by what they would give.
func fatalTable() string {
	var order []string
	names := map[string][]string{}
	all := worker.Fatal()
	for _, call := range all[:len(all)-worker.FatalHere()] {
		if names[call.Why] == nil {
			order = append(order, call.Why)
		}
		names[call.Why] = append(names[call.Why], "`"+call.Name+"`")
	}
	var out strings.Builder
	out.WriteString("| To | Calls |\n|---|---|\n")
	for _, why := range order {
		fmt.Fprintf(&out, "| %s | %s |\n", why, strings.Join(names[why], ", "))
	}
	return out.String()
}
