package faults_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
)

var storeCells = []cell{
	{"store", "error", "a full disk acknowledges nothing, and holds what is held directly", true, func(w *world) {
		w.outage(func() func() { return w.full(page) }, 3*time.Second)
	}},
	{"store", "timeout", "a store that hangs is given up, and a direct hold does not wait for it", false,
		func(w *world) { w.outage(w.lock, 12*time.Second) }},
	{"store", "slow", "what is late is durable when it is said, and not before", false, slowStore},
	{"store", "corrupt", "pages that the disk changed end everything until they are mended", false, corruptStore},
	{"store", "partial", "half of a commit on the disk is none", true, func(w *world) {
		w.outage(func() func() {
			info, err := os.Stat(w.path("attestd.db-wal"))
			w.must(err)
			// The next commit has room for its first frame and a piece of the second.
			return w.full(uint64(info.Size()) + page + 1000) //nolint:gosec // a size
		}, 3*time.Second)
	}},
	{"store", "flap", "each of many answers is right while the disk comes and goes", true, flappingStore},
}

// outage is a store that cannot be written: nothing is accepted, granted or acknowledged but a direct
// hold, which is in force at once, and which the store has when it is back.
func (w *world) outage(begin func() (end func()), most time.Duration) {
	w.Helper()
	issued := w.challenge()
	evidence := w.evidence(issued)
	end := begin()
	var asking sync.WaitGroup
	asking.Go(func() {
		w.wants("evidence during the fault", w.verify(evidence), attestd.ClassStoreUnavailable)
	})
	asking.Go(func() {
		_, got := w.issue()
		w.wants("a challenge during the fault", got, attestd.ClassStoreUnavailable)
	})
	asking.Go(func() {
		_, err := w.quarantine(false)
		w.unavailable("quarantine during the fault", err)
	})
	w.within(most, "what cannot be written", asking.Wait)
	w.noIdentity()
	end()
	// The challenge was not given back by the fault, or it was never used: at most one acceptance.
	accepted := 0
	for range 3 {
		if w.verify(evidence).accepted() {
			accepted++
		}
	}
	if accepted > 1 {
		w.Errorf("one challenge was accepted %d times", accepted)
	}
	w.eventually("an identity", w.grant)
	w.directly(begin, 3*time.Second)
}

// noIdentity demands that identities end, and not much later than the records of them: those before
// are by the index, which knows every hold.
func (w *world) noIdentity() {
	w.Helper()
	var err error
	for deadline := time.Now().Add(4 * time.Second); err == nil && time.Now().Before(deadline); {
		err = w.grant()
		time.Sleep(10 * time.Millisecond)
	}
	w.unavailable("an identity during the fault", err)
}

// directly holds the machine round the fault.
func (w *world) directly(begin func() (end func()), most time.Duration) {
	w.Helper()
	end := begin()
	w.within(most, "a direct hold", func() {
		receipt, err := w.quarantine(true)
		if err != nil {
			w.Errorf("a direct hold during the fault: %v", err)
			return
		}
		for _, channel := range receipt.Channels {
			if channel.Name == "store" && channel.State != "pending" {
				w.Errorf("the receipt says that the store has it: %+v", channel)
			}
		}
	})
	w.mayHave(false)
	end()
	w.mayHave(false)
	w.eventually("the store, which takes over the hold,", func() error {
		got, err := w.admin.Subject(context.Background(), string(w.id))
		if err == nil && (got.State != attestd.StateQuarantined || len(got.Bars) == 0) {
			err = fmt.Errorf("the store has it %s", got.State)
		}
		return err
	})
	w.must(w.restart())
	w.mayHave(false)
	w.wants("evidence of what is held", w.attest(), attestd.ClassQuarantined)
}

func slowStore(w *world) {
	evidence := w.evidence(w.challenge())
	end := w.lock()
	var released atomic.Bool
	var group sync.WaitGroup
	early := func(what string) {
		if !released.Load() {
			w.Errorf("%s was answered before it was durable", what)
		}
	}
	group.Go(func() {
		got := w.verify(evidence)
		early("evidence")
		if !got.accepted() && got.class != attestd.ClassQuarantined {
			w.Errorf("late evidence: %s", got)
		}
	})
	group.Go(func() {
		_, err := w.quarantine(false)
		early("quarantine")
		if err != nil {
			w.Errorf("a late quarantine: %v", err)
		}
	})
	time.Sleep(1500 * time.Millisecond)
	released.Store(true)
	end()
	w.within(10*time.Second, "what was late", group.Wait)
	w.mayHave(false)
	w.must(w.restart())
	w.mayHave(false)
}

func corruptStore(w *world) {
	evidence := w.evidence(w.challenge())
	mend := w.corrupt()
	w.within(3*time.Second, "a verdict", func() {
		w.wants("evidence during the fault", w.verify(evidence), attestd.ClassStoreUnavailable)
	})
	_, got := w.issue()
	w.wants("a challenge during the fault", got, attestd.ClassStoreUnavailable)
	_, err := w.quarantine(false)
	w.unavailable("quarantine during the fault", err)
	w.noIdentity()
	w.end()
	if err := w.start(); err == nil {
		w.Error("it starts with a database that is none")
	}
	mend()
	w.must(w.start())
	w.recovers()
}

func flappingStore(w *world) {
	var group sync.WaitGroup
	var acknowledged atomic.Bool
	stop := make(chan struct{})
	group.Go(func() {
		for full := true; ; full = !full {
			select {
			case <-stop:
				return
			default:
			}
			if full {
				end := w.full(page)
				time.Sleep(15 * time.Millisecond)
				end()
			} else {
				time.Sleep(15 * time.Millisecond)
			}
		}
	})
	var asking sync.WaitGroup
	var accepted atomic.Int32
	for range 4 {
		asking.Go(func() {
			for range 25 {
				issued, got := w.issue()
				if got.status != 201 {
					w.wants("a challenge", got, attestd.ClassStoreUnavailable)
					continue
				}
				evidence, before := w.evidence(issued), acknowledged.Load()
				times := 0
				for range 3 {
					got := w.verify(evidence)
					if !got.accepted() {
						w.wants("evidence", got, attestd.ClassStoreUnavailable, attestd.ClassReplay,
							attestd.ClassQuarantined)
						continue
					}
					accepted.Add(1)
					if times++; times > 1 || before {
						w.Errorf("accepted %d times, after a hold: %t", times, before)
					}
				}
			}
		})
	}
	asking.Go(func() {
		for !acknowledged.Load() {
			_, err := w.quarantine(false)
			if err == nil {
				acknowledged.Store(true)
				w.mayHave(false)
				return
			}
			w.unavailable("quarantine", err)
		}
	})
	w.within(patience, "asking a store that flaps", asking.Wait)
	close(stop)
	group.Wait()
	w.Logf("%d acceptances while it flapped", accepted.Load())
	w.must(w.restart())
	w.mayHave(false)
}
