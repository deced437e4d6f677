package all_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/all"
)

// TestRootsAreThoseThatTheVendorsPrint compares with fingerprints written out once more, so that a
// root cannot be swapped in one place.
func TestRootsAreThoseThatTheVendorsPrint(t *testing.T) {
	roots, err := all.Roots()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"aws.nitro-enclaves": "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b",
		"ARK-Milan":          "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
		"ARK-Turin":          "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
		"Intel SGX Root CA":  "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3",
		"ARK-Genoa":          "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
	}
	page, err := os.ReadFile("../../docs/reference/tpm-roots.md")
	if err != nil {
		t.Fatal(err)
	}
	makers := 0
	for _, root := range roots {
		// TPM makers' are many, and stand on a page of their own.
		if slices.Equal(root.Formats, []attestd.Format{attestd.FormatTPM}) {
			makers++
			if !strings.Contains(string(page), "`"+root.SHA256+"`") {
				t.Errorf("root %q has SHA-256 %s, which docs/reference/tpm-roots.md lacks", root.Name,
					root.SHA256)
			}
			continue
		}
		if want[root.Name] != root.SHA256 {
			t.Errorf("root %q has SHA-256 %s, want %q", root.Name, root.SHA256, want[root.Name])
		}
		delete(want, root.Name)
	}
	if rows := strings.Count(string(page), " | `"); rows != makers || makers == 0 {
		t.Errorf("%d roots of TPM makers, and %d on the page", makers, rows)
	}
	if len(want) > 0 {
		t.Errorf("roots that are missing: %v", want)
	}
}
