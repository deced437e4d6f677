package watch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/watch"
	"github.com/attestd/attestd/internal/subject"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// sink keeps what it is told, and can be made to fail.
type sink struct {
	mu    sync.Mutex
	seen  []subject.Sighting
	fails int
	told  chan struct{}
}

func (s *sink) Native(_ context.Context, one subject.Sighting) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails > 0 {
		s.fails--
		return errors.New("the store is down")
	}
	s.seen = append(s.seen, one)
	select {
	case s.told <- struct{}{}:
	default:
	}
	return nil
}

type world struct {
	t     testing.TB
	now   time.Time
	watch *watch.Watch
	sink  *sink
}

func configOf(sink watch.Sink) watch.Config {
	return watch.Config{
		Rate: 10, Burst: 20, Subjects: 1 << 12, Bounds: watch.StandardBounds(), Sink: sink,
		Logger: slog.New(slog.DiscardHandler),
	}
}

func newWorld(t testing.TB, change func(*watch.Config)) *world {
	t.Helper()
	w := &world{t: t, now: start, sink: &sink{told: make(chan struct{}, 1)}}
	config := configOf(w.sink)
	if change != nil {
		change(&config)
	}
	made, err := watch.New(config)
	if err != nil {
		t.Fatal(err)
	}
	w.watch = made
	return w
}

// ask is a question of a caller that was identified, with risk 10, for data of its own tenant.
func (w *world) ask(name string) *decision.Input {
	return &decision.Input{
		At: w.now, Enforcer: "token:gateway", Source: netip.MustParseAddr("192.0.2.7"),
		Who: decision.Who{
			ID:     subject.ID("spiffe://example.org/agent/" + name),
			Method: decision.MethodJWT, Credential: "c0ffee-" + name,
		},
		Standing: decision.Standing{
			Attested: true, State: attestd.StateTrusted, Tenant: "blue", Risk: attestd.Risk(10), Tier: attestd.TierLow,
		},
		Action:   decision.Action{Name: decision.ActionToolCall},
		Resource: decision.Resource{Type: "tool", ID: "search", Tenant: "blue"},
	}
}

func at(in *decision.Input, points int) *decision.Input {
	in.Standing.Risk = attestd.Risk(points)
	in.Standing.Tier = in.Standing.Risk.Tier()
	return in
}

func (w *world) pass(d time.Duration) { w.now = w.now.Add(d) }

// allowed asks that many questions a minute apart, which are allowed.
func (w *world) allowed(n int, make func() *decision.Input) {
	w.t.Helper()
	for range n {
		in := make()
		if found := w.watch.Before(in); found.Throttled {
			w.t.Fatalf("throttled at %s", in.At)
		}
		w.watch.After(in, &decision.Result{Allow: true})
		w.pass(time.Minute)
	}
}

func (w *world) denied(in *decision.Input, code decision.Code) {
	w.watch.After(in, &decision.Result{Reasons: []decision.Reason{{Code: code}}})
}

// sightings runs the watch until its queue is empty, and returns what was told.
func (w *world) sightings() []subject.Sighting {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.watch.Run(ctx) }()
	deadline := time.After(20 * time.Second)
	want := uint64(0)
	for _, n := range w.watch.Counts().Fired {
		want += n
	}
	for {
		w.sink.mu.Lock()
		n := uint64(len(w.sink.seen))
		w.sink.mu.Unlock()
		if n+w.watch.Counts().Failed >= want {
			break
		}
		select {
		case <-w.sink.told:
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			w.t.Fatalf("%d sightings of %d", n, want)
		}
	}
	cancel()
	if err := <-done; err != nil {
		w.t.Error(err)
	}
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	return w.sink.seen
}

// wantSightings compares the codes that were told.
func (w *world) wantSightings(want ...subject.Code) {
	w.t.Helper()
	var got []subject.Code
	for _, one := range w.sightings() {
		got = append(got, one.Code)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("told of %v, want %v", got, want)
	}
}
