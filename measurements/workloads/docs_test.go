package workloads_test

import (
	"os"
	"strings"
	"testing"

	"github.com/attestd/attestd/measurements/workloads"
)

func TestTheExampleOfTheDocumentationIsRead(t *testing.T) {
	text, err := os.ReadFile("../../docs/workloads.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```yaml\n")
	doc, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("the page has no example")
	}
	set := parse(t, "docs/workloads.md", doc)
	index, err := workloads.NewIndex(set)
	if err != nil {
		t.Fatal(err)
	}
	if names, _ := index.Names("acme"); len(names) != 3 {
		t.Errorf("got %d names, want 3", len(names))
	}
	if !strings.Contains(string(text), "8,000") || workloads.MaxDigests != 8000 {
		t.Error("the page and the limit differ")
	}
}
