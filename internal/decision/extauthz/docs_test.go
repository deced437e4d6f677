package extauthz_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd/internal/decision/extauthz"
)

// TestThePageHasTheKeys: all of them, in the code's order.
func TestThePageHasTheKeys(t *testing.T) {
	page, err := os.ReadFile("../../../docs/decisions/envoy.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		got = append(got, row[1])
	}
	if diff := cmp.Diff(extauthz.Keys(), got); diff != "" {
		t.Errorf("keys of docs/decisions/envoy.md (-code +page):\n%s", diff)
	}
}
