//go:build !race

package issuance_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/spire/wire"
)

// fleetOf is a world with an id on so many nodes.
func fleetOf(tb testing.TB, nodes int) *world {
	w := newWorld(tb, nil)
	var which []int
	for n := range nodes {
		which = append(which, n)
	}
	w.publish(nil, which...)
	w.on(which...)
	return w
}

// took returns the shortest time of a grant over some rounds.
func took(tb testing.TB, w *world, ask wire.GrantRequest) time.Duration {
	tb.Helper()
	const rounds, each = 20, 200
	best := time.Hour
	for range rounds {
		began := time.Now()
		for range each {
			if _, err := w.office.Grant(context.Background(), ask); err != nil {
				tb.Fatal(err)
			}
		}
		best = min(best, time.Since(began)/each)
	}
	return best
}

// TestAGrantTakesAtMost50Microseconds: SPIRE waits for it at every mint. Machines that are shared get
// five times that; what does not depend on them are the allocations.
func TestAGrantTakesAtMost50Microseconds(t *testing.T) {
	const bar = 50 * time.Microsecond
	for _, nodes := range []int{1, 3, 100} {
		w := fleetOf(t, nodes)
		for name, ask := range map[string]wire.GrantRequest{"jwt": jwt(workload), "x509": x509SVID(workload)} {
			got := took(t, w, ask)
			allocs := testing.AllocsPerRun(100, func() {
				if _, err := w.office.Grant(context.Background(), ask); err != nil {
					t.Fatal(err)
				}
			})
			t.Logf("%4s on %3d nodes: %6s, %.0f allocations", name, nodes, got, allocs)
			if got > 5*bar {
				t.Errorf("a grant of %s on %d nodes took %s, want at most %s, 5 times that in CI", name, nodes, got, bar)
			}
			if most := 90.0; allocs > most {
				t.Errorf("%s on %d nodes: %.0f allocations, want at most %.0f on any number", name, nodes, allocs, most)
			}
		}
	}
}

// TestAMapOfAFleetIsSmall: 20,000 agents with 30 entries each, once with ids of their own and once with
// the same 30 on all of them.
func TestAMapOfAFleetIsSmall(t *testing.T) {
	const agents, entries = 20_000, 30
	for name, of := range map[string]func(agent, number int) string{
		"ids of their own": func(agent, number int) string {
			return fmt.Sprintf("spiffe://example.org/ns/%d/sa/%d", number, agent)
		},
		"shared ids": func(_, number int) string { return fmt.Sprintf("spiffe://example.org/ns/%d", number) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			before := heap()
			func() {
				whole := wire.Map{At: start}
				for agent := range agents {
					parent := string(node(agent).ID)
					whole.Agents = append(whole.Agents, wire.Agent{ID: parent})
					for number := range entries {
						whole.Entries = append(whole.Entries,
							wire.Entry{SPIFFEID: of(agent, number), ParentID: parent})
					}
				}
				began := time.Now()
				must(t, w.office.SetMap(whole))
				built := time.Since(began)
				began = time.Now()
				must(t, w.office.SetMap(whole))
				t.Logf("built in %s, the same again taken in in %s", built, time.Since(began))
			}()
			used := heap() - before
			t.Logf("%d entries of %d agents: %d MiB, %d B an entry", agents*entries, agents, used>>20,
				used/(agents*entries))
			if used > 200<<20 {
				t.Errorf("the map takes %d MiB, want at most 200", used>>20)
			}
			runtime.KeepAlive(w)
		})
	}
}

func BenchmarkGrant(b *testing.B) {
	for _, nodes := range []int{1, 3, 100} {
		w := fleetOf(b, nodes)
		b.Run(fmt.Sprintf("%d-nodes", nodes), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.office.Grant(context.Background(), jwt(workload)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
