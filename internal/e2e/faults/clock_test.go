package faults_test

import (
	"net/http"
	"sync"
	"time"

	"github.com/attestd/attestd"
)

var clockCells = []cell{
	{"clock", "error", "a clock before everything that is stored starts nothing", false, func(w *world) {
		w.end()
		for _, wall := range []time.Time{time.Unix(0, 0), time.Now().AddDate(-1, 0, 0), time.Now().Add(-time.Hour)} {
			w.clock.set(func(c *clock) { c.wall = wall })
			if got := classOfError(w.start()); got != attestd.ClassConfig {
				w.Errorf("it starts at %s, or says %q, want CONFIG", wall, got)
			}
		}
		w.clock.set(func(c *clock) { c.wall = time.Time{} })
		w.must(w.start())
		w.recovers()
	}},
	{"clock", "timeout", "a clock that jumps ahead ends what was asked before", false, func(w *world) {
		evidence := w.evidence(w.challenge())
		w.clock.set(func(c *clock) { c.ahead = time.Hour })
		w.wants("evidence of an hour ago", w.verify(evidence), attestd.ClassStale)
		w.wants("again", w.verify(evidence), attestd.ClassStale)
		w.recovers()
	}},
	{"clock", "slow", "a clock that stands still stops no deadline", false, func(w *world) {
		evidence := w.evidence(w.challenge())
		// The wall clock hangs, while time goes on.
		w.clock.set(func(c *clock) {
			c.wall = time.Now()
			c.elapsed = time.Now().Add(w.settings.Challenges.Lifetime + 10*time.Second)
		})
		w.wants("evidence that came late", w.verify(evidence), attestd.ClassStale)
		w.notReady()
		w.clock.set(func(c *clock) {
			c.wall, c.elapsed = time.Time{}, time.Time{}
			c.ahead = w.settings.Challenges.Lifetime + 11*time.Second
		})
		w.ready()
		w.recovers()
	}},
	{"clock", "corrupt", "a clock that is set back gives no nonce a second life", false, func(w *world) {
		used, unused := w.evidence(w.challenge()), w.evidence(w.challenge())
		if got := w.verify(used); !got.accepted() {
			w.Errorf("in time: %s", got)
		}
		w.clock.set(func(c *clock) { c.ahead = 2 * w.settings.Challenges.Lifetime })
		w.wants("what is over", w.verify(unused), attestd.ClassStale)
		for _, ahead := range []time.Duration{0, -time.Hour, -24 * 365 * time.Hour} {
			w.clock.set(func(c *clock) { c.ahead = ahead })
			w.wants("what is over, with the clock set back", w.verify(unused), attestd.ClassStale, attestd.ClassReplay)
			w.wants("what was used, with the clock set back", w.verify(used), attestd.ClassReplay, attestd.ClassStale)
		}
		w.notReady()
		w.end()
		if got := classOfError(w.start()); got != attestd.ClassConfig {
			w.Errorf("it starts with a clock that was set back, or says %q", got)
		}
		w.clock.set(func(c *clock) { c.ahead = 2*w.settings.Challenges.Lifetime + time.Minute })
		w.must(w.start())
		w.recovers()
	}},
	{"clock", "partial", "where one of two clocks slept, the later one counts", false, func(w *world) {
		evidence := w.evidence(w.challenge())
		// A machine that was suspended: its wall clock goes on, its monotonic clock does not.
		w.clock.set(func(c *clock) {
			c.elapsed, c.ahead = time.Now(), w.settings.Challenges.Lifetime+time.Second
		})
		w.wants("evidence from before the sleep", w.verify(evidence), attestd.ClassStale)
		if got := w.attest(); !got.accepted() {
			w.Errorf("evidence after the sleep: %s", got)
		}
		// And the other way round: the wall clock goes back by as much as it had gone on.
		w.clock.set(func(c *clock) { c.ahead = 0 })
		w.wants("evidence from before the sleep", w.verify(evidence), attestd.ClassStale, attestd.ClassReplay)
		w.clock.set(func(c *clock) {
			c.elapsed, c.ahead = time.Time{}, w.settings.Challenges.Lifetime+2*time.Second
		})
		w.recovers()
	}},
	{"clock", "flap", "time never goes back, however the clock is set", false, flappingClock},
}

func flappingClock(w *world) {
	stop := make(chan struct{})
	var flapping, asking sync.WaitGroup
	flapping.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				ahead := []time.Duration{time.Hour, -time.Hour, 0}[n%3]
				w.clock.set(func(c *clock) { c.ahead = ahead })
			}
		}
	})
	for range 4 {
		asking.Go(func() {
			for range 20 {
				evidence := w.evidence(w.challenge())
				times := 0
				for range 3 {
					got := w.verify(evidence)
					if got.accepted() {
						times++
						continue
					}
					w.wants("evidence", got, attestd.ClassReplay, attestd.ClassStale)
				}
				if times > 1 {
					w.Errorf("one challenge was accepted %d times", times)
				}
			}
		})
	}
	w.within(patience, "asking while the clock flaps", asking.Wait)
	close(stop)
	flapping.Wait()
	w.clock.set(func(c *clock) { c.ahead = time.Hour + time.Minute })
	w.ready()
	w.recovers()
}

// readiness asks whether the daemon says that it is ready.
func (w *world) readiness() int {
	w.Helper()
	response, err := w.public.Get("http://attestd/readyz")
	w.must(err)
	w.must(response.Body.Close())
	return response.StatusCode
}

func (w *world) notReady() { w.Helper(); w.awaits(http.StatusServiceUnavailable) }

func (w *world) ready() { w.Helper(); w.awaits(http.StatusOK) }

// awaits waits for the answer, which is remembered for some seconds.
func (w *world) awaits(status int) {
	w.Helper()
	for deadline := time.Now().Add(15 * time.Second); w.readiness() != status; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Errorf("readyz does not become %d", status)
			return
		}
	}
}
