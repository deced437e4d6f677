//go:build !race

package live_test

import (
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/subject"
)

func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// size is 10^6 where ATTESTD_SOAK is set, less in a common run.
func size() int {
	if os.Getenv("ATTESTD_SOAK") != "" {
		return 1_000_000
	}
	return 400_000
}

func TestASubjectTakesAtMost200BytesWithItsGrants(t *testing.T) {
	n := size()
	ids := make([]subject.ID, n)
	for i := range ids {
		ids[i] = machine(i).ID
	}
	before := heap()
	index := loaded(t, n)
	for i := range n {
		for seconds := 60; seconds <= 600; seconds += 60 {
			if _, err := index.Grant(ids[i], seconds, "x509-svid", start); err != nil {
				t.Fatal(err)
			}
		}
	}
	each := float64(heap()-before) / float64(n)
	t.Logf("%d subjects with instance, boot, host shared by eight, and ten grants: %.1f B each", n, each)
	if each > 200 {
		t.Errorf("got %.1f bytes a subject, want at most 200", each)
	}
	runtime.KeepAlive(index)
	runtime.KeepAlive(ids)
}

// TestAStateIsCheckedWithinAMicrosecond: and it hardly grows. Ids are made beforehand and asked for in
// an order that no cache knows.
func TestAStateIsCheckedWithinAMicrosecond(t *testing.T) {
	const bar = time.Microsecond
	times := map[int]time.Duration{}
	for _, n := range []int{1_000, 10_000, 100_000, size()} {
		index := loaded(t, n)
		ids := make([]subject.ID, min(n, 100_000))
		random := rand.New(rand.NewPCG(1, uint64(n)))
		for i := range ids {
			ids[i] = machine(random.IntN(n)).ID
		}
		best := time.Duration(math.MaxInt64)
		for range 5 {
			const rounds = 200_000
			began := time.Now()
			for i := range rounds {
				if !index.Check(ids[i%len(ids)], start).Grants() {
					t.Fatal("a trusted subject is not granted anything")
				}
			}
			best = min(best, time.Since(began)/rounds)
		}
		times[n] = best
		t.Logf("%9d subjects: %v a check", n, best)
		if best > 5*bar {
			t.Errorf("a check of %d subjects took %v, want at most %v, 5 times that in CI", n, best, bar)
		}
	}
	slope := math.Log10(float64(times[size()])/float64(times[1_000])) / math.Log10(float64(size())/1_000)
	t.Logf("growth from 10^3 on: slope %.3f", slope)
}
