package journal_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
)

// FuzzJournal: whatever the bytes of a segment are, reading it ends, lists each record once from either
// side, and never panics; and what a journal would cut off ends at a line.
func FuzzJournal(f *testing.F) {
	line, err := journal.Encode(journal.RecordOf(answer(1, begin, decision.CodeRing), "x"))
	if err != nil {
		f.Fatal(err)
	}
	head := `{"schema":"attestd.decision-segment.v1","number":1,"begun":"2026-03-01T12:00:00Z","engine":"x"}` + "\n"
	f.Add([]byte(head + string(line)))
	f.Add([]byte(head + string(line) + string(line[:100])))
	f.Add([]byte(head + string(line[:100]) + "\n" + string(line) + "\x00\x00"))
	f.Add([]byte(`{"schema":"attestd.decision-fold.v1","count":3,"decision":"deny"}` + "\n\n\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		folder := t.TempDir()
		if err := os.MkdirAll(filepath.Join(folder, "segments"), 0o700); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(folder, "segments", "00000001-20260301T120000.000Z.jsonl")
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		reader, err := journal.OpenReader(folder)
		if err != nil {
			t.Fatal(err)
		}
		everybody := []string{"*"}
		newest := list(t, reader, journal.Query{Tenants: everybody, Limit: 2})
		oldest := list(t, reader, journal.Query{Tenants: everybody, Limit: 3, Oldest: true})
		if len(newest) != len(oldest) {
			t.Fatalf("%d records from one side, %d from the other", len(newest), len(oldest))
		}
		for _, record := range newest {
			_, _ = journal.Replay(&record, nil, func(in *decision.Input, _ decision.PolicySet) decision.Result {
				return decision.Result{Reasons: []decision.Reason{{Code: decision.Code(in.Via)}}}
			})
			if _, err := journal.Encode(record); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = reader.Find(t.Context(), idAt(begin, 1).String(), everybody)
		if _, err := reader.Verify(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if whole := journal.WholeLines(content); whole > len(content) || whole > 0 && content[whole-1] != '\n' {
			t.Fatalf("%d of %d bytes are whole lines", whole, len(content))
		}
	})
}
