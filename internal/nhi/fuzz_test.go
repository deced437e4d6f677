package nhi_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/nhi"
)

// holds demands of what was read that it can be kept, and of what was refused that it can be
// printed.
func holds(t *testing.T, records []nhi.Record, err error) {
	t.Helper()
	if err != nil {
		var caller *attestd.CallerError
		if !errors.As(err, &caller) || records != nil {
			t.Fatalf("got %v with %d records", err, len(records))
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if attestd.Excerpt(line, len(line)) != line {
				t.Fatalf("a line that cannot be printed: %q", line)
			}
		}
		return
	}
	if len(records) == 0 {
		t.Fatal("neither records nor an error")
	}
	seen := map[string]bool{}
	for i := range records {
		one := &records[i]
		if faults := one.Check(); len(faults) > 0 || seen[nhi.Fold(one.ID)] || one.Source == "" {
			t.Fatalf("%+v: %v", one, faults)
		}
		seen[nhi.Fold(one.ID)] = true
	}
}

func FuzzInventoryYAML(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("schema: attestd.inventory.v1\nrecords: [{id: \"github:a\", tools: [\"*\"]}]\n"))
	f.Fuzz(func(t *testing.T, document []byte) {
		records, err := nhi.ParseYAML("a.yaml", document)
		holds(t, records, err)
	})
}

func FuzzInventoryCSV(f *testing.F) {
	f.Add([]byte("id,owner,tools\ngithub:a,me,x y\n\"github:b\",\"a \"\"b\"\"\",\n"))
	f.Add([]byte("\ufeffid\r\ngithub:a\r\n"))
	f.Fuzz(func(t *testing.T, document []byte) {
		records, err := nhi.ParseCSV("a.csv", document)
		holds(t, records, err)
	})
}

func FuzzManifests(f *testing.F) {
	f.Add([]byte(accounts))
	f.Add([]byte(entries))
	f.Fuzz(func(t *testing.T, document []byte) {
		records, err := nhi.ParseManifests("a.yaml", document, nhi.Cluster{Name: "prod"})
		holds(t, records, err)
		records, err = nhi.ParseSPIRE("a.json", document)
		holds(t, records, err)
	})
}
