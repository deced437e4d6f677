package reappraisal

import (
	"bytes"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/collateral/set"
	"github.com/attestd/attestd/internal/service"
)

// TestDocumentsOfARequestCountAsSeen: stored evidence is older than the documents that a rehearsal asks
// about. Were they not known to exist, they would be left alone as ones from the future, and the
// rehearsal would say that nothing changes.
func TestDocumentsOfARequestCountAsSeen(t *testing.T) {
	day := time.Date(2026, 8, 13, 0, 0, 0, 0, time.UTC)
	floor := func(subject string, evaluation uint64, days int) attestd.DocumentFloor {
		return attestd.DocumentFloor{
			Subject: subject, Evaluation: evaluation, IssuedAt: day.AddDate(0, 0, days),
		}
	}
	said := map[string]attestd.DocumentFloor{
		"newer number": floor("a", 20, -9), "older number": floor("b", 18, 9),
		"newer day": floor("c", 19, 1), "older day": floor("d", 19, -1), "new": floor("e", 1, 0),
	}
	ask := wire.ReappraisalRequest{Documents: [][]byte{[]byte("no document")}}
	for document := range said {
		ask.Documents = append(ask.Documents, []byte(document))
	}
	held, err := set.Set{DocumentFloors: []attestd.DocumentFloor{
		floor("a", 19, 0), floor("b", 19, 0), floor("c", 19, 0), floor("d", 19, 0),
	}}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	documents := service.Documents{
		Collateral: map[attestd.Format]service.Document{attestd.FormatTDX: {Bytes: held}},
	}
	err = addCollateral(&documents, ask, func(document []byte) (attestd.DocumentFloor, bool) {
		got, is := said[string(document)]
		return got, is
	})
	if err != nil {
		t.Fatal(err)
	}
	want, err := set.Set{Documents: ask.Documents, DocumentFloors: []attestd.DocumentFloor{
		said["newer number"], floor("b", 19, 0), said["newer day"], floor("d", 19, 0), said["new"],
	}}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(documents.Collateral[attestd.FormatTDX].Bytes, want) {
		t.Error("other floors")
	}
	// Without anybody who reads documents nothing is known to exist.
	documents.Collateral = nil
	if err := addCollateral(&documents, ask, nil); err != nil {
		t.Fatal(err)
	}
	kept, err := set.Parse(documents.Collateral[attestd.FormatTDX].Bytes)
	if err != nil || len(kept.DocumentFloors) != 0 || len(kept.Documents) != len(ask.Documents) {
		t.Errorf("%d floors, %v", len(kept.DocumentFloors), err)
	}
}
