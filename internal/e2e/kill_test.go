package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/subject"
)

// How the daemon is killed, and how soon it must be ready again.
const (
	killRounds  = 20
	killWriters = 8
	readyWithin = 2 * time.Second
)

// acked are the holds that were acknowledged.
type acked struct {
	mu    sync.Mutex
	names []subject.ID
}

func (a *acked) add(id subject.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.names = append(a.names, id)
}

func (a *acked) all() []subject.ID {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.names)
}

// TestWhatWasAcknowledgedOutlivesAKill: the process is killed in the middle of quarantines, every fourth
// of them past the store. Each that was acknowledged is there when it is ready again, which it soon is,
// and no worker process is left behind.
//
// neg: 172
func TestWhatWasAcknowledgedOutlivesAKill(t *testing.T) {
	h := household(t)
	var holds acked
	var slowest, sum time.Duration
	for round := range killRounds {
		// Each round kills somewhere else: between two acknowledgements, or before the first.
		quarantining(t, h, &holds, round, len(holds.all())+1+round*3)
		ready := h.start(t)
		slowest, sum = max(slowest, ready), sum+ready
		h.gate = h.as(t, h.gate.folder)
		all := holds.all()
		for _, id := range all[max(0, len(all)-killWriters*4):] {
			_, err := h.gate.grant(t, string(id))
			wantProblem(t, err, attestd.ClassQuarantined)
		}
	}
	// Direct holds are in force at once; the store takes them over beside the requests.
	var lost []subject.ID
	began := time.Now()
	until(t, func() bool {
		held := h.held(t)
		lost = slices.DeleteFunc(holds.all(), func(id subject.ID) bool { return held[id] })
		return len(lost) == 0
	})
	if len(lost) > 0 {
		t.Errorf("acknowledged and not held: %v", lost)
	}
	t.Logf("%d kills, %d acknowledged holds, %d lost, all in the store after %s; ready after %s on average, "+
		"%s at most", killRounds, len(holds.all()), len(lost), time.Since(began), sum/killRounds, slowest)
	if len(holds.all()) < killRounds {
		t.Error("hardly anything was acknowledged")
	}
	if average := sum / killRounds; average > readyWithin {
		t.Errorf("ready after %s on average, want at most %s", average, readyWithin)
	}
	h.stop(t)
	if !until(t, func() bool { return len(ofBinary(t)) == 0 }) {
		t.Errorf("processes that nobody waits for: %v", ofBinary(t))
	}
}

// held lists every name that is quarantined.
func (h *house) held(t *testing.T) map[subject.ID]bool {
	t.Helper()
	held := map[subject.ID]bool{}
	for after := ""; ; {
		page, err := h.root.Subjects(t.Context(), client.Query{
			States: []string{"quarantined"}, After: after, Limit: 500,
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range page.Subjects {
			held[one.ID] = true
		}
		if after = page.Next; after == "" {
			return held
		}
	}
}

// quarantining has several operators quarantine names until so many are acknowledged, and kills the
// daemon in the middle of the next ones.
func quarantining(t *testing.T, h *house, holds *acked, round, until int) {
	t.Helper()
	enough, killed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var writers sync.WaitGroup
	for writer := range killWriters {
		writers.Go(func() {
			for number := 0; ; number++ {
				id := subject.ID(fmt.Sprintf("spiffe://%s/host/%d/%d/%d", trustDomain, round, writer, number))
				order := wire.Order{
					Target: string(id), Tenant: tenant(0), Reason: "drill", Direct: number%4 == 3,
				}
				if _, err := h.root.Quarantine(t.Context(), order); err != nil {
					select {
					case <-killed: // as it must be: no answer is no acknowledgement
					case <-time.After(5 * time.Second):
						t.Errorf("the daemon runs, and does not quarantine: %v", err)
						once.Do(func() { close(enough) })
					}
					return
				}
				holds.add(id)
				if len(holds.all()) >= until {
					once.Do(func() { close(enough) })
				}
			}
		})
	}
	<-enough
	h.kill()
	close(killed)
	writers.Wait()
}

// ofBinary lists the processes of the binary under test, the daemon's workers among them.
func ofBinary(t *testing.T) []int {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, made.binary) {
			number, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			out = append(out, number)
		}
	}
	return out
}
