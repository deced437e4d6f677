//go:build !race

package crash_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
)

// processorTime returns what this process has used of the processors.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// TestAStoreOfManySubjectsIsReadyWithinSeconds opens a store of 10^6 subjects where ATTESTD_SOAK is set
// and demands 3 s of it; in a common run it opens one of a fiftieth and demands five times that pace.
func TestAStoreOfManySubjectsIsReadyWithinSeconds(t *testing.T) {
	n, limit := 20_000, 5*3*time.Second/50
	if os.Getenv("ATTESTD_SOAK") != "" {
		n, limit = 1_000_000, 3*time.Second
	}
	path := filepath.Join(t.TempDir(), "attestd.db")
	store, err := openStore(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := store.Now()
	const together = 10_000
	for start := 0; start < n; start += together {
		step := write(now, "verify")
		for i := start; i < start+together; i++ {
			one := machine(i)
			one.State, one.DueAt, one.EvidenceAt = attestd.StateTrusted, now.Add(time.Hour), now
			one.FirstSeenAt, one.ChangedAt, one.AppraisalID = now, now, "ap_0123456789abcdef"
			step.Subjects = append(step.Subjects, subject.SubjectWrite{Next: one})
		}
		if err := store.Write(t.Context(), step); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	index := live.New()
	began, busy := time.Now(), processorTime(t)
	if store, err = openStore(t.Context(), path, index); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	busy = processorTime(t) - busy
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d subjects: ready after %v, %v of processor time", index.Len(),
		took.Round(time.Millisecond), busy.Round(time.Millisecond))
	if index.Len() != n || took > limit {
		t.Errorf("%d subjects after %v, want %d within %v", index.Len(), took, n, limit)
	}
	if !index.Check(machine(n/2).ID, now).Grants() {
		t.Error("a trusted subject is not granted anything")
	}
}
