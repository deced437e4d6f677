package journal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
)

func TestRecordsHaveBoundsAndTheOldestGoFirst(t *testing.T) {
	w := start(t, t.TempDir(), func(c *journal.Config) { c.Bytes = 1 << 20 })
	w.SegmentOf(64 << 10)
	for number := range 3000 {
		w.keep(t, answer(number, begin.Add(time.Duration(number)*time.Second), ""))
		for w.Waiting() > 256 {
			time.Sleep(time.Millisecond)
		}
	}
	w.stop()
	var bytes int64
	names, _ := filepath.Glob(filepath.Join(w.folder, "segments", "*.jsonl"))
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		bytes += info.Size()
	}
	if bytes > 1<<20 {
		t.Errorf("%d bytes, want at most 1 MiB", bytes)
	}
	kept := w.all(t)
	if len(kept) < 200 || len(kept) >= 3000 {
		t.Errorf("%d records are left", len(kept))
	}
	if last := kept[len(kept)-1].Input.Context.RequestID; last != "request-2999" {
		t.Errorf("the last is %s", last)
	}
}

func TestRecordsGrowOldWithTheirPolicies(t *testing.T) {
	w := start(t, t.TempDir(), nil)
	newer := "sha256:" + strings.Repeat("b6", 32)
	files := fstest.MapFS{"shared/one.cedar": {Data: []byte("permit(principal, action, resource);")}}
	for _, one := range []string{digest, newer} {
		if err := w.KeepPolicies(one, files); err != nil {
			t.Fatal(err)
		}
	}
	w.keep(t, answer(1, begin, ""))
	settle(t, func() bool { return len(w.all(t)) == 1 })
	if _, err := w.Reader().Policies(digest); err != nil {
		t.Fatal(err)
	}
	w.clock.set(begin.Add(2 * time.Hour)) // the segment is complete
	late := answer(2, begin.Add(2*time.Hour), "")
	settle(t, func() bool {
		names, _ := filepath.Glob(filepath.Join(w.folder, "segments", "*.jsonl"))
		return len(names) == 1
	})
	time.Sleep(300 * time.Millisecond)
	late.Policy = newer
	w.keep(t, late)
	settle(t, func() bool { return len(w.all(t)) == 2 })
	w.clock.set(begin.Add(26*time.Hour + 30*time.Minute))
	settle(t, func() bool { return len(w.all(t)) == 1 })
	settle(t, func() bool { _, err := w.Reader().Policies(digest); return errors.Is(err, os.ErrNotExist) })
	if _, err := w.Reader().Policies(newer); err != nil {
		t.Errorf("the policies in force are gone: %v", err)
	}
}

// settle waits until something is so.
func settle(t *testing.T, so func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if so() {
			return
		}
	}
	t.Fatal("it never came")
}

func TestADiskWithoutSpaceDeniesAndLosesNothing(t *testing.T) {
	w, run := open(t, t.TempDir(), nil)
	var free clock // a number of bytes as nanoseconds: safe to set while it runs
	free.set(time.Unix(0, 0))
	w.FreeIs(func() (int64, error) { return free.now().UnixNano(), nil })
	run()
	w.keep(t, answer(1, begin, "")) // nobody knows yet
	settle(t, func() bool { return w.Ready() != nil })
	if err := w.Keep(answer(2, begin, "")); err == nil {
		t.Error("an allow is kept by a journal that cannot write")
	}
	if err := w.Keep(answer(3, begin, decision.CodeRing)); err != nil {
		t.Errorf("a denial is not taken: %v", err)
	}
	free.set(time.Unix(0, 1<<40))
	settle(t, func() bool { return w.Ready() == nil })
	w.keep(t, answer(4, begin, ""))
	w.stop()
	var got []string
	for _, one := range w.all(t) {
		if one.Folded() {
			got = append(got, fmt.Sprint(one.Count, " ", one.Decision, " ", one.Reason))
			continue
		}
		got = append(got, one.Input.Context.RequestID)
	}
	// What could not be recorded was denied, and that is counted.
	want := []string{"request-1", "request-3", "request-4", "1 deny records_unavailable"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAReserveOfTheDiskIsLeftToOthers(t *testing.T) {
	w, run := open(t, t.TempDir(), func(c *journal.Config) { c.Reserve = 1000 })
	w.SegmentOf(8 << 10)
	w.FreeIs(func() (int64, error) { // the disk has 64 KiB beside what records have
		names, _ := filepath.Glob(filepath.Join(w.folder, "segments", "*.jsonl"))
		left := int64(64 << 10)
		for _, name := range names {
			if info, err := os.Stat(name); err == nil {
				left -= info.Size()
			}
		}
		if left < 1000 {
			t.Errorf("%d bytes are left", left)
		}
		return left, nil
	})
	run()
	for number := range 200 {
		w.keep(t, answer(number, begin.Add(time.Duration(number)*time.Second), ""))
		settle(t, func() bool { return w.Waiting() < 2 })
	}
	w.stop()
	if err := w.Ready(); err != nil {
		t.Error(err)
	}
	if kept := w.all(t); len(kept) == 0 || kept[len(kept)-1].Input.Context.RequestID != "request-199" {
		t.Errorf("%d records are left", len(kept))
	}
}

func TestNothingIsKeptBehindTheEnd(t *testing.T) {
	w := start(t, t.TempDir(), nil)
	w.stop()
	if err := w.Keep(answer(1, begin, "")); err == nil {
		t.Error("an allow is kept by a journal that has ended")
	}
	if err := w.Keep(&decision.Answer{}); err == nil {
		t.Error("an answer without an input is kept")
	}
}

func TestAFullQueueDeniesAndCountsDenials(t *testing.T) {
	w, run := open(t, t.TempDir(), nil)
	one := answer(1, begin, "")
	for range journal.QueueLength {
		w.keep(t, one)
	}
	if err := w.Keep(one); err == nil {
		t.Error("more is allowed than can be recorded")
	}
	for range 3 {
		w.keep(t, answer(2, begin, decision.CodeRing))
	}
	run()
	w.stop()
	var folded int64
	for _, record := range list(t, w.Reader(), journal.Query{Tenants: []string{"*"}, Limit: 1000, Decision: journal.Deny}) {
		folded += record.Count
	}
	if folded != 4 {
		t.Errorf("%d denials are counted, want 3 and the one that became of an allow", folded)
	}
}
