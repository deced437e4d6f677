package faults_test

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
)

var nonceCells = []cell{
	{"nonce", "error", "a nonce that cannot be marked as used is not used", false, func(w *world) {
		evidence := w.evidence(w.challenge())
		end := w.fails("UPDATE", "challenges")
		w.wants("evidence during the fault", w.verify(evidence), attestd.ClassStoreUnavailable)
		w.wants("again", w.verify(evidence), attestd.ClassStoreUnavailable)
		end()
		if got := w.verify(evidence); !got.accepted() {
			w.Errorf("after the fault: %s", got)
		}
		w.wants("a second time", w.verify(evidence), attestd.ClassReplay)
		w.recovers()
	}},
	{"nonce", "timeout", "a caller that gave up is not accepted twice when it comes back", false, func(w *world) {
		evidence := w.evidence(w.challenge())
		end := w.lock()
		short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		if got := w.post(short, "/v1/verify", evidence); got.err == nil {
			w.Errorf("answered by a store that hangs: %s", got)
		}
		w.within(12*time.Second, "a verdict", func() {
			w.wants("evidence during the fault", w.verify(evidence), attestd.ClassStoreUnavailable)
		})
		end()
		w.once(evidence, 16)
		w.recovers()
	}},
	{"nonce", "slow", "a nonce that is marked after its time is over is refused", false, func(w *world) {
		evidence := w.evidence(w.challenge())
		end := w.lock()
		late := make(chan answer, 1)
		go func() { late <- w.verify(evidence) }()
		time.Sleep(200 * time.Millisecond)
		w.clock.set(func(c *clock) { c.ahead = w.settings.Challenges.Lifetime + time.Second })
		end()
		w.within(10*time.Second, "a late nonce", func() {
			w.wants("a nonce whose time is over", <-late, attestd.ClassStale)
		})
		w.wants("again", w.verify(evidence), attestd.ClassStale, attestd.ClassReplay)
		w.recovers()
	}},
	{"nonce", "corrupt", "a nonce that the disk changed is not the one in the evidence", false, func(w *world) {
		evidence := w.evidence(w.challenge())
		w.change("UPDATE challenges SET nonce = randomblob(length(nonce)) WHERE used_at IS NULL")
		w.wants("evidence during the fault", w.verify(evidence), attestd.ClassBinding)
		w.wants("again", w.verify(evidence), attestd.ClassReplay)
		w.recovers()
	}},
	{"nonce", "partial", "a nonce that is there in part, or not at all, is none", false, func(w *world) {
		cut, gone := w.evidence(w.challenge()), w.evidence(w.challenge())
		w.change("PRAGMA ignore_check_constraints = on",
			"UPDATE challenges SET nonce = substr(nonce, 1, 16) WHERE id = '"+cut["challenge_id"].(string)+"'",
			"DELETE FROM challenges WHERE id = '"+gone["challenge_id"].(string)+"'")
		w.wants("half of a nonce", w.verify(cut), attestd.ClassStoreUnavailable)
		w.wants("half of a nonce, again", w.verify(cut), attestd.ClassReplay, attestd.ClassStoreUnavailable)
		w.wants("no nonce", w.verify(gone), attestd.ClassStale)
		w.recovers()
	}},
	{"nonce", "flap", "one nonce among many callers is accepted at most once", false, func(w *world) {
		for range 5 {
			evidence := w.evidence(w.challenge())
			stop, ended := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(ended)
				for {
					select {
					case <-stop:
						return
					default:
						w.fails("UPDATE", "challenges")()
					}
				}
			}()
			w.once(evidence, 64)
			close(stop)
			<-ended
			w.once(evidence, 8)
			w.wants("after the fault", w.verify(evidence), attestd.ClassReplay)
		}
		w.recovers()
	}},
}

// once hands evidence in from many callers at a time, and demands that at most one of them is told
// that it is accepted.
func (w *world) once(evidence any, callers int) {
	w.Helper()
	var group sync.WaitGroup
	var accepted atomic.Int32
	for range callers {
		group.Go(func() {
			got := w.verify(evidence)
			if got.accepted() {
				accepted.Add(1)
				return
			}
			w.wants("beside another", got, attestd.ClassStoreUnavailable, attestd.ClassReplay,
				attestd.ClassRateLimited)
		})
	}
	w.within(patience, "many callers", group.Wait)
	if accepted.Load() > 1 {
		w.Errorf("accepted %d times", accepted.Load())
	}
}
