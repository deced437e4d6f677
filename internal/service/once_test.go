package service_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
)

// submitters is how many hand one piece of evidence in at a time.
const submitters = 64

// evidences is how many pieces of evidence are handed in: a few where every change is tested, 1,000 in
// CI and more in a soak.
func evidences(t *testing.T) int {
	t.Helper()
	text := os.Getenv("ATTESTD_ONCE")
	if text == "" {
		if testing.Short() || raceEnabled {
			return 50
		}
		return 1000
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 1 {
		t.Fatalf("ATTESTD_ONCE is %q, want a count", text)
	}
	return count
}

// tally counts what became of submissions, by piece of evidence.
type tally struct {
	accepted []atomic.Int64
	replays  atomic.Int64
	expired  atomic.Int64
	other    atomic.Int64
}

// together is how many pieces of evidence are fresh at a time: on a slow machine more would outlive
// their challenges before their turn has come.
const together = 500

// storm hands every submission in from all submitters at a time. The first of them is the piece of that
// number.
func (w *world) storm(handed []service.Submission, first int, into *tally) {
	w.Helper()
	var group sync.WaitGroup
	for range submitters {
		group.Go(func() {
			for i := range handed {
				given, err := w.service.Verify(context.Background(), handed[i])
				switch {
				case err != nil:
					w.Errorf("verify: %v", err)
					return
				case given.Verdict == attestd.VerdictAccepted:
					into.accepted[first+i].Add(1)
				case failedBy(given, "challenge/known"):
					into.replays.Add(1)
				case failedBy(given, "challenge/expired"):
					into.expired.Add(1)
				default:
					into.other.Add(1)
				}
			}
		})
	}
	group.Wait()
}

// TestEachEvidenceIsAcceptedExactlyOnce: by many at a time; again; again after a start; and whatever
// the wall clock does meanwhile.
//
// neg: 152, 155, 157, 159
func TestEachEvidenceIsAcceptedExactlyOnce(t *testing.T) {
	count := evidences(t)
	w := newWorld(t, worldOptions{slots: submitters})
	handed := make([]service.Submission, 0, count)
	seen := &tally{accepted: make([]atomic.Int64, count)}
	took := time.Duration(0)
	for len(handed) < count {
		first := len(handed)
		for range min(together, count-first) {
			issued := w.issue("default")
			handed = append(handed, submission(issued, w.enclave(issued)))
		}
		begun := time.Now()
		w.storm(handed[first:], first, seen)
		took += time.Since(begun)
	}
	for _, step := range []struct {
		name string
		by   time.Duration
		open bool // the store is closed and opened
	}{
		{"again", 0, false},
		{"with the clock an hour back", -time.Hour, false},
		{"after a start with the clock an hour back", 0, true},
		{"after a start with the clock as it was", time.Hour, true},
		{"with the clock an hour ahead", time.Hour, false},
		{"after a start with the clock an hour ahead", 0, true},
	} {
		w.wall.step(step.by)
		if step.open {
			w.close()
			var caller *attestd.CallerError
			if err := w.open(); errors.As(err, &caller) && caller.Class == attestd.ClassConfig &&
				step.name == "after a start with the clock an hour back" {
				continue // it does not start: nonces of an earlier run would live on
			} else if err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
		}
		w.storm(handed, 0, seen)
	}
	for i := range seen.accepted {
		if n := seen.accepted[i].Load(); n != 1 {
			t.Errorf("evidence %d was accepted %d times", i, n)
		}
	}
	t.Logf("%d evidences x %d submitters, first in %s (%d submissions/s); refused as replays %d, as expired %d, "+
		"otherwise %d", count, submitters, took.Round(time.Millisecond),
		int(float64(count*submitters)/took.Seconds()), seen.replays.Load(), seen.expired.Load(), seen.other.Load())
	if seen.other.Load() != 0 || seen.replays.Load() == 0 {
		t.Errorf("%d were refused otherwise", seen.other.Load())
	}
}

// neg: 155, 157
func TestAChallengeThatWasNeverUsedDiesWithItsTime(t *testing.T) {
	w := newWorld(t, worldOptions{})
	issued := w.issue("default")
	handed := submission(issued, w.enclave(issued))
	w.close()
	w.wall.step(time.Hour)
	w.must(w.open())
	given, err := w.service.Verify(context.Background(), handed)
	w.must(err)
	if given.Verdict != attestd.VerdictRejected || !failedBy(given, "challenge/expired") &&
		!failedBy(given, "challenge/known") {
		t.Errorf("got %s: %+v", given.Verdict, given.Reasons)
	}
}

// breaking is a judge that breaks in one of several ways.
type breaking struct {
	inner
	do func(ctx context.Context) error
}

func (b *breaking) Judge(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
	if job.Demand.Mode == service.DemandBinding {
		if err := b.do(ctx); err != nil {
			return attestd.Appraisal{}, err
		}
	}
	return b.inner.Judge(ctx, job)
}

// TestAFailureGivesNoChallengeBack: whatever happens behind the challenge, it stays used, nothing is
// stored, nobody is trusted, and the service goes on.
//
// neg: 169, 170
func TestAFailureGivesNoChallengeBack(t *testing.T) {
	var leave context.CancelFunc
	for name, do := range map[string]func(context.Context) error{
		"the judge breaks": func(context.Context) error { return errors.New("broken") },
		"the caller leaves while the judge thinks": func(ctx context.Context) error {
			leave()
			<-ctx.Done()
			return ctx.Err()
		},
		"the caller leaves when the judge has answered": func(context.Context) error {
			leave()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			judging := &breaking{do: do}
			w := newWorld(t, worldOptions{judge: func(judge service.Judge) service.Judge {
				judging.inner = judge
				return judging
			}})
			w.own("default")
			issued := w.issue("default")
			handed := submission(issued, w.enclave(issued))
			var ctx context.Context
			ctx, leave = context.WithCancel(context.Background())
			defer leave()
			if given, err := w.service.Verify(ctx, handed); err == nil {
				t.Fatalf("got %s", given.Verdict)
			}
			judging.do = func(context.Context) error { return nil }
			given, err := w.service.Verify(context.Background(), handed)
			w.must(err)
			if !failedBy(given, "challenge/known") {
				t.Errorf("the challenge came back: %s", given.Verdict)
			}
			if known := w.known(); known.Subject != nil {
				t.Errorf("it is known now: %+v", known.Subject)
			}
			w.accepted("default")
		})
	}
}
