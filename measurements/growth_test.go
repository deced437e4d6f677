package measurements_test

import (
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
)

// TestAMillionValuesAreFoundAsFastAsAThousand: the slope of time over the number of values, both as
// logarithms, is 0 for a lookup that does not grow and 1 for one that goes through them.
func TestAMillionValuesAreFoundAsFastAsAThousand(t *testing.T) {
	cost := func(count int) time.Duration {
		set := &measurements.Set{Name: "many", Format: attestd.FormatSEVSNP}
		digest := func(i int) []byte {
			return append(digestFill(44), byte(i>>24), byte(i>>16), byte(i>>8), byte(i))
		}
		set.Values = make([]measurements.Value, 0, count)
		for i := range count {
			set.Values = append(set.Values, measurements.Value{
				Name: fmt.Sprint(i), State: measurements.StateActive, Registers: []attestd.Register{
					{Name: "MEASUREMENT", Algorithm: "SHA384", Digest: digest(i)},
				},
			})
		}
		known, err := measurements.NewIndex(set)
		if err != nil {
			t.Fatal(err)
		}
		// The fastest of many short runs: others use this machine too. Few values are asked for, so that
		// what is compared is the lookup and not the machine's caches.
		// Nor is the collector's work for a larger heap.
		runtime.GC()
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		best := time.Hour
		for range 50 {
			from := time.Now()
			for i := range 200 {
				seen := []attestd.Register{
					{Name: "MEASUREMENT", Algorithm: "SHA384", Digest: digest(i % 8 * (count / 8))},
				}
				if !known.Match(attestd.FormatSEVSNP, slices.Values(seen), nil).Found {
					t.Fatal("not found")
				}
			}
			best = min(best, time.Since(from)/200)
		}
		return best
	}
	few, many := cost(1_000), cost(1_000_000)
	slope := math.Log10(float64(many)/float64(few)) / 3
	t.Logf("10^3 values: %v, 10^6 values: %v a lookup, slope %.3f", few, many, slope)
	if slope > 0.1 {
		t.Errorf("the slope is %.3f, want at most 0.1", slope)
	}
}

func digestFill(count int) []byte {
	out := make([]byte, count)
	for i := range out {
		out[i] = 1
	}
	return out
}
