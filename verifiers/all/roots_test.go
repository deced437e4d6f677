package all_test

import (
	"testing"

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
		"ARK-Genoa":          "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
	}
	for _, root := range roots {
		if want[root.Name] != root.SHA256 {
			t.Errorf("root %q has SHA-256 %s, want %q", root.Name, root.SHA256, want[root.Name])
		}
		delete(want, root.Name)
	}
	if len(want) > 0 {
		t.Errorf("roots that are missing: %v", want)
	}
}
