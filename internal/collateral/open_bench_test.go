package collateral_test

import (
	"testing"
	"time"

	"github.com/attestd/attestd/internal/collateral"
)

func BenchmarkOpen(b *testing.B) {
	folder := b.TempDir() + "/c"
	for b.Loop() {
		if _, err := collateral.Open(folder, time.Now); err != nil {
			b.Fatal(err)
		}
	}
}
