package subject_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

var update = flag.Bool("update", false, "write the table of docs/explain/states.md instead of comparing")

// TestDocsHaveTheTable compares the published table of transitions with the one that is in force.
func TestDocsHaveTheTable(t *testing.T) {
	const file, begin, end = "../../docs/explain/states.md", "<!-- transitions -->\n", "<!-- end -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	got, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no place for the table", file)
	}
	want := transitionsTable()
	if *update {
		if err = os.WriteFile(file, []byte(before+begin+want+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("%s has\n%s\nwant\n%s\nhint: go test ./internal/subject -update", file, got, want)
	}
}

func transitionsTable() string {
	var out strings.Builder
	out.WriteString("| |")
	for _, move := range subject.Moves() {
		out.WriteString(" " + string(move) + " |")
	}
	out.WriteString("\n|---|" + strings.Repeat("---|", len(subject.Moves())) + "\n")
	for state := attestd.StateUnknown; state <= attestd.StateRevoked; state++ {
		out.WriteString("| **" + state.String() + "** |")
		for _, move := range subject.Moves() {
			to, found := subject.Next(state, move)
			if !found {
				out.WriteString(" - |")
				continue
			}
			out.WriteString(" " + to.String() + " |")
		}
		out.WriteString("\n")
	}
	return out.String()
}
