package sevsnp_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/attestd/attestd"
)

// TestEveryBitOfAForgedReportMatters flips each of the 9,472 bits of a report of the newest version,
// whose VCEK is known, so that nothing but the report itself can be at fault. neg: 91
func TestEveryBitOfAForgedReportMatters(t *testing.T) {
	v := forgedVerifier(t)
	input, _ := newScene(t, "Genoa", 5).build()
	mustVerify(t, v, input)
	var group sync.WaitGroup
	for worker := range 2 {
		group.Go(func() {
			for bit := worker; bit < len(input.Evidence)*8; bit += 2 {
				flipped := input
				flipped.Evidence = bytes.Clone(input.Evidence)
				flipped.Evidence[bit/8] ^= 1 << (bit % 8)
				_, err := v.Verify(flipped)
				var rejected *attestd.EvidenceError
				if !errors.As(err, &rejected) {
					t.Errorf("bit %d of byte 0x%03x: %v", bit%8, bit/8, err)
				}
			}
		})
	}
	group.Wait()
}
