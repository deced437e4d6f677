package watch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/watch"
	"github.com/attestd/attestd/internal/subject"
)

// TestSightingsWaitForASinkThatFails for a while, and are counted where it fails for good.
func TestSightingsWaitForASinkThatFails(t *testing.T) {
	w := newWorld(t, nil)
	w.sink.fails = 2
	w.foreign("red")
	w.foreign("green")
	w.wantSightings(subject.CodeTenantPivot)
	if n := w.watch.Counts().Failed; n != 0 {
		t.Errorf("%d failed", n)
	}
}

// TestAFullQueueLosesNoDetector: what found it full is told at the next question, without a
// cooldown.
func TestAFullQueueLosesNoDetector(t *testing.T) {
	w := newWorld(t, nil)
	pivot := func(name string) {
		for _, tenant := range []string{"red", "green"} {
			in := w.ask(name)
			in.Resource.Tenant = tenant
			w.watch.Before(in)
		}
	}
	for i := range 1100 {
		pivot(fmt.Sprint("c", i))
	}
	if counts := w.watch.Counts(); counts.Dropped != 76 || counts.Fired[decision.CodeTenantPivot] != 1024 {
		t.Errorf("counts %+v", counts)
	}
	w.sightings()
	pivot("c1099")
	if seen := w.sightings(); len(seen) != 1025 || seen[1024].ID != w.ask("c1099").Who.ID {
		t.Errorf("%d were told", len(seen))
	}
}

// TestMemoryIsBounded: a caller's history takes what the configuration says that it takes.
func TestMemoryIsBounded(t *testing.T) {
	const callers = 1 << 16
	w := newWorld(t, func(c *watch.Config) { c.Subjects = callers })
	in := w.ask("a")
	ids := make([]subject.ID, 2*callers)
	for i := range ids {
		ids[i] = subject.ID(fmt.Sprintf("spiffe://example.org/agent/%d", i))
	}
	in.Who.Credential = "" // the places of credentials are bounded by themselves
	before := heap()
	for _, id := range ids {
		in.Who.ID = id
		w.watch.Before(in)
	}
	each := float64(heap()-before) / callers
	t.Logf("%.0f bytes for each caller", each)
	if each > 260 || each < 50 {
		t.Errorf("%.0f bytes for each caller, want at most 260", each)
	}
	if n := w.watch.Counts().Subjects; n > callers {
		t.Errorf("%d are remembered of at most %d", n, callers)
	}
	runtime.KeepAlive(ids)
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// TestUsualQuestionsAllocateNothing.
func TestUsualQuestionsAllocateNothing(t *testing.T) {
	w := newWorld(t, func(c *watch.Config) { c.Rate, c.Burst = 1e6, 1e6 })
	in := w.ask("a")
	result := &decision.Result{Allow: true}
	each := testing.AllocsPerRun(1000, func() {
		w.watch.Before(in)
		w.watch.After(in, result)
	})
	if each != 0 {
		t.Errorf("%.1f allocations", each)
	}
}

// TestManyAskAtATime: limits count exactly, whoever asks beside whom.
func TestManyAskAtATime(t *testing.T) {
	w := newWorld(t, nil)
	var through sync.Map
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 400 {
				name := fmt.Sprint("c", i%10)
				in := w.ask(name)
				in.Resource.Tenant = []string{"blue", "red", "green"}[i%3]
				if found := w.watch.Before(in); !found.Throttled {
					n, _ := through.LoadOrStore(name, new(counter))
					n.(*counter).add()
				}
				w.denied(in, decision.CodeTenantMismatch)
			}
		})
	}
	all.Wait()
	for i := range 10 {
		n, _ := through.Load(fmt.Sprint("c", i))
		if got := n.(*counter).n; got != 20 {
			t.Errorf("%d questions of caller %d went through, want 20", got, i)
		}
	}
}

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func BenchmarkWarm(b *testing.B) {
	w := newWorld(b, func(c *watch.Config) { c.Rate, c.Burst, c.Subjects = 1e6, 1e6, 1<<20 })
	in := w.ask("a")
	in.Resource.Datasets = []decision.Dataset{{ID: "features/a"}, {ID: "features/b"}}
	result := &decision.Result{Allow: true}
	b.ReportAllocs()
	for b.Loop() {
		in.At = in.At.Add(10 * time.Microsecond)
		w.watch.Before(in)
		w.watch.After(in, result)
	}
}

// consequences records what spikes led to.
type consequences struct {
	mu      sync.Mutex
	tried   []subject.Grounds
	paged   []subject.Outcome
	outcome subject.Outcome
	err     error
	done    chan struct{}
}

func (c *consequences) quarantine(_ context.Context, one subject.Grounds) (subject.Outcome, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tried = append(c.tried, one)
	defer func() { c.done <- struct{}{} }()
	return c.outcome, c.err
}

func (c *consequences) page(_ subject.Grounds, outcome subject.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paged = append(c.paged, outcome)
}

// TestASpikeIsCarriedOutOnceBesideTheQuestions, and again after a while, since it may have failed.
func TestASpikeIsCarriedOutOnceBesideTheQuestions(t *testing.T) {
	w := newWorld(t, nil)
	c := &consequences{outcome: subject.OutcomeLaid, done: make(chan struct{}, 10)}
	var mu sync.Mutex
	spikes, err := watch.NewSpikes(watch.SpikesConfig{
		Quarantine: c.quarantine, Page: c.page, Logger: slog.New(slog.DiscardHandler),
		Now: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return w.now
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		spikes.Spike(at(w.ask("a"), 85))
	}
	spikes.Spike(at(w.ask("b"), 69)) // no spike
	faulty := at(w.ask("c"), 85)
	faulty.Who.Fault = decision.CodeUnauthenticated
	spikes.Spike(faulty)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- spikes.Run(ctx) }()
	<-c.done
	c.mu.Lock()
	c.outcome, c.err = "", errors.New("down")
	c.mu.Unlock()
	mu.Lock()
	w.now = w.now.Add(5 * time.Second)
	mu.Unlock()
	spikes.Spike(at(w.ask("a"), 85))
	<-c.done
	cancel()
	if err = <-stopped; err != nil {
		t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tried) != 2 || c.tried[0].Code != subject.CodeRiskSpike || c.tried[0].Tenant != "blue" ||
		!slices.Equal(c.paged, []subject.Outcome{subject.OutcomeLaid}) {
		t.Errorf("tried %+v, paged %v", c.tried, c.paged)
	}
	if _, err = watch.NewSpikes(watch.SpikesConfig{}); err == nil {
		t.Error("spikes without their parts are made")
	}
}
