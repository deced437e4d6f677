//go:build !race

package live_test

import (
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/registry/live"
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

// TestAStateIsCheckedWithinAMicrosecond: and it hardly grows. Subjects are asked for in an order that
// no cache knows; the ids asked for are in the cache, as those of a request are.
func TestAStateIsCheckedWithinAMicrosecond(t *testing.T) {
	const bar = time.Microsecond
	times := map[int]time.Duration{}
	for _, n := range []int{1_000, 10_000, 100_000, size()} {
		index := loaded(t, n)
		ids := make([]subject.ID, min(n, 200_000))
		for i, which := range rand.New(rand.NewPCG(1, uint64(n))).Perm(n)[:len(ids)] { //nolint:gosec // repeatable
			ids[i] = machine(which).ID
		}
		took := checks(t, index, ids)
		for range 4 {
			took = min(took, checks(t, index, ids))
		}
		times[n] = took
		t.Logf("%9d subjects: %v a check", n, took)
		if took > 5*bar {
			t.Errorf("a check of %d subjects took %v, want at most %v, 5 times that in CI", n, took, bar)
		}
	}
	slope := math.Log10(float64(times[size()])/float64(times[1_000])) / math.Log10(float64(size())/1_000)
	t.Logf("growth of a check from 10^3 on: slope %.3f", slope)
}

// checks returns how long a check takes.
func checks(t *testing.T, index *live.Index, ids []subject.ID) time.Duration {
	t.Helper()
	const together = 50
	var total time.Duration
	hot := make([]byte, 0, together*256)
	asked := 0
	for range max(1, 200_000/len(ids)) {
		for i := 0; i+together <= len(ids); i += together {
			hot = hot[:0]
			for _, id := range ids[i : i+together] {
				hot = append(hot, id...)
			}
			text, length := subject.ID(hot), len(ids[i])
			began := time.Now()
			for j := range together {
				if !index.Check(text[j*length:(j+1)*length], start).Grants() {
					t.Fatal("a trusted subject is not granted anything")
				}
			}
			total += time.Since(began)
			asked += together
		}
	}
	return total / time.Duration(asked)
}

func BenchmarkPublish(b *testing.B) {
	rows := make([]subject.Subject, b.N)
	for i := range rows {
		rows[i] = machine(i)
	}
	b.ResetTimer()
	index := live.New()
	err := index.Load(start, func(yield func(subject.Subject, error) bool) {
		for _, one := range rows {
			if !yield(one, nil) {
				return
			}
		}
	}, bars(subject.Bar{Key: key(subject.BarHost, "h"), State: 3}))
	if err != nil {
		b.Fatal(err)
	}
}
