package measurements_test

import (
	"os"
	"strings"
	"testing"

	"github.com/attestd/attestd/measurements"
)

func TestTheExamplesOfTheDocumentationAreRead(t *testing.T) {
	text, err := os.ReadFile("../docs/reference-values.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```yaml\n")[1:]
	if len(blocks) != 5 {
		t.Fatalf("got %d examples, want 5", len(blocks))
	}
	for _, block := range blocks {
		doc, _, _ := strings.Cut(block, "```")
		set, err := measurements.Parse("docs/reference-values.md", []byte(doc))
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := measurements.NewIndex(set); err != nil {
			t.Error(err)
		}
	}
}
