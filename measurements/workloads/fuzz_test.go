package workloads_test

import (
	"testing"

	"github.com/attestd/attestd/measurements/workloads"
)

// FuzzParse: a document that is read can be indexed alone, and names only digests.
func FuzzParse(f *testing.F) {
	f.Add([]byte(document("tenant: acme", "workloads:", "  api:", `    - "`+digestA+`"`)))
	f.Add([]byte("schema: [attestd.workloads.v1]\nworkloads: {}\n"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		set, err := workloads.Parse("w.yaml", doc)
		if err != nil {
			return
		}
		index, err := workloads.NewIndex(set)
		if err != nil {
			t.Fatalf("what was read cannot be indexed: %v", err)
		}
		names, _ := index.Names(set.Tenant)
		if len(names) == 0 {
			t.Fatal("a document without a name was read")
		}
		for digest, name := range names {
			if len(digest) != 64 || name == "" {
				t.Fatalf("%q is %q", digest, name)
			}
		}
	})
}
