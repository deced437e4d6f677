package collateral_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/testvectors"
)

// TestWhatAMDPublishedIsTaken under the roots that are compiled in: its lists and the keys of real machines,
// which are given out for the reports that they signed.
func TestWhatAMDPublishedIsTaken(t *testing.T) {
	corpus, err := testvectors.Load(testvectors.FromEnvironment())
	if err != nil {
		t.Fatal(err)
	}
	lists, machines := 0, 0
	for _, vector := range corpus.Vectors {
		if vector.Format != attestd.FormatSEVSNP || vector.Expect != attestd.VerdictAccepted ||
			len(vector.Endorsements.Certificates) == 0 {
			continue
		}
		store, err := collateral.Open(filepath.Join(t.TempDir(), "c"), func() time.Time { return vector.At })
		if err != nil {
			t.Fatal(err)
		}
		objects := append(append([][]byte{}, vector.Endorsements.Certificates...), vector.Endorsements.CRLs...)
		items, err := store.Import(t.Context(), objects, vector.Name)
		if err != nil {
			t.Errorf("%s: %v", vector.Name, err)
			continue
		}
		for _, item := range items {
			if item.Kind == collateral.KindList {
				lists++
			}
		}
		found, _ := store.For(attestd.FormatSEVSNP, vector.Evidence)
		if len(found) != 1 || !bytes.Equal(found[0], vector.Endorsements.Certificates[0]) {
			t.Errorf("%s: %d certificates are given out for its report", vector.Name, len(found))
			continue
		}
		machines++
	}
	t.Logf("%d lists and %d machines' certificates", lists, machines)
	// Without the folder of extra vectors there are those of public modules alone.
	if want := 2; os.Getenv(testvectors.ExtraVariable) != "" && (machines < 8 || lists < 1) || machines < want {
		t.Errorf("%d machines and %d lists were looked at", machines, lists)
	}
}
