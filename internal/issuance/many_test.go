package issuance_test

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// manyOf is a world with the workload on an alias that so many nodes match; they have the numbers from 0.
func manyOf(tb testing.TB, nodes int, change func(*issuance.Config)) *world {
	w := newWorld(tb, change)
	for n := range nodes {
		w.publish(nil, n)
	}
	must(tb, w.office.SetMap(aliased(nodes, w.clock())))
	return w
}

func aliased(nodes int, at time.Time) wire.Map {
	whole := wire.Map{At: at, Entries: []wire.Entry{
		entry(alias, server, wire.Selector{Type: "x509pop", Value: "pool:a"}), entry(workload, alias),
	}}
	for n := range nodes {
		whole.Agents = append(whole.Agents, wire.Agent{
			ID: string(node(n).ID), Selectors: []wire.Selector{{Type: "x509pop", Value: "pool:a"}},
		})
	}
	return whole
}

const lots = issuance.Many + 20

// as publishes a node that is otherwise than it was.
func (w *world) as(n int, generation uint64, change func(*subject.Subject)) {
	one := node(n)
	one.Generation = generation
	change(&one)
	w.index.Publish([]subject.Subject{one}, nil)
}

// TestWhatGotWorseOnManyNodesIsSaidAtOnce: what got better is, when all of them were looked at again.
func TestWhatGotWorseOnManyNodesIsSaidAtOnce(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*world)
		claim  string
		// before, after, and at last, when the node is as it was
		want [3]any
		undo func(*world)
	}{
		"a risk": {
			func(w *world) { w.as(7, 2, func(s *subject.Subject) { s.Floor = attestd.Risk(60) }) },
			"risk_score", [3]any{20, 60, 20},
			func(w *world) { w.as(7, 3, func(*subject.Subject) {}) },
		},
		"another's": {
			func(w *world) { w.as(7, 2, func(s *subject.Subject) { s.Tenant = "red" }) },
			"tenant", [3]any{"blue", nil, "blue"},
			func(w *world) { w.as(7, 3, func(*subject.Subject) {}) },
		},
		"a node that is good again, and worse": {
			func(w *world) {
				w.as(7, 2, func(s *subject.Subject) { s.State = attestd.StateSuspect })
				w.granted(x509SVID(workload))
				w.as(7, 3, func(s *subject.Subject) { s.Floor = attestd.Risk(60) })
			},
			"risk_score", [3]any{20, 60, 20},
			func(w *world) { w.as(7, 4, func(*subject.Subject) {}) },
		},
		"a stranger that may match": {
			func(w *world) { w.granted(agentSVID(stranger, []byte("k"))) },
			"attested", [3]any{true, false, false}, func(*world) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := manyOf(t, lots, observed)
			w.wait(5 * time.Second) // what the nodes showed is here
			says := func() any { return w.granted(jwtNow(w)).Claims[row.claim] }
			if got := says(); got != row.want[0] {
				t.Fatalf("before: %v, want %v", got, row.want[0])
			}
			row.change(w)
			for range 3 {
				if got := says(); got != row.want[1] {
					t.Fatalf("after: %v, want %v", got, row.want[1])
				}
			}
			row.undo(w)
			w.wait(issuance.Anyway + time.Second)
			w.granted(jwtNow(w))
			for range 500 { // who asks then need not wait for the look
				if says() == row.want[2] {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Errorf("at last: %v, want %v", says(), row.want[2])
		})
	}
}

func jwtNow(w *world) wire.GrantRequest {
	ask := jwt(workload)
	ask.ExpiresAt = w.clock().Unix() + 300
	return ask
}

// TestTheLastOfManyNodesIsHeld: the next grant is refused, whatever was said before, and what was granted is
// counted against each node that it could be for. neg: 197
func TestTheLastOfManyNodesIsHeld(t *testing.T) {
	w := manyOf(t, lots, nil)
	for n := range lots {
		w.granted(x509SVID(workload))
		w.hold(node(n).ID)
		if got := w.outstanding(node(n).ID); got != n+1 {
			t.Fatalf("%d grants of node %d, want %d", got, n, n+1)
		}
	}
	for range 3 {
		w.refused(x509SVID(workload), attestd.ClassPolicyDeny)
	}
	if got := w.outstanding(workload); got != lots {
		t.Errorf("%d grants of the workload, want %d", got, lots)
	}
	for n := range lots {
		if got := w.outstanding(node(n).ID); got != n+1 {
			t.Errorf("%d grants of node %d after the others, want %d", got, n, n+1)
		}
	}
	free := node(11).ID.Key()
	w.index.Publish(nil, []subject.BarWrite{{Key: free}})
	w.granted(x509SVID(workload))
	w.hold(workload)
	w.refused(x509SVID(workload), attestd.ClassQuarantined)
}

// TestEvidenceOfManyNodesThatIsDue: they leave one by one, with nobody's word.
func TestEvidenceOfManyNodesThatIsDue(t *testing.T) {
	w := newWorld(t, nil)
	for n := range lots {
		w.publish(func(s *subject.Subject) { s.DueAt = start.Add(time.Duration(n+1) * time.Minute) }, n)
	}
	whole := aliased(lots, start)
	for n := range lots {
		whole.At = w.clock()
		must(t, w.office.SetMap(whole))
		given := w.granted(jwtNow(w))
		if most := start.Add(time.Duration(n+1)*time.Minute + time.Minute).Unix(); given.ExpiresAt > most {
			t.Fatalf("%d left: ends %d, want at most %d", lots-n, given.ExpiresAt, most)
		}
		w.wait(time.Minute)
	}
	must(t, w.office.SetMap(whole))
	w.refused(jwtNow(w), attestd.ClassPolicyDeny)
}

// TestManyNodesAreNeverSaidToBeBetterThanTheyAre: whatever changes in between.
func TestManyNodesAreNeverSaidToBeBetterThanTheyAre(t *testing.T) {
	w := manyOf(t, lots, observed)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // repeatable
	generation := uint64(1)
	const most = 4 // nodes that are anything but held, so that the last one matters
	for n := most; n < lots; n++ {
		w.hold(node(n).ID)
	}
	refused, granted := 0, 0
	for step := range 3000 {
		n := random.IntN(most)
		generation++
		switch random.IntN(5) {
		case 0:
			w.as(n, generation, func(s *subject.Subject) { s.Floor = attestd.Risk(random.IntN(90)) })
		case 1:
			w.as(n, generation, func(s *subject.Subject) { s.State = attestd.StateSuspect })
		case 2:
			w.hold(node(n).ID)
		case 3:
			w.index.Publish(nil, []subject.BarWrite{{Key: node(n).ID.Key()}})
		default:
			w.wait(300 * time.Millisecond)
			w.as(n, generation, func(s *subject.Subject) {
				s.EvidenceAt, s.DueAt = w.clock(), w.clock().Add(time.Minute)
			})
		}
		whole := aliased(lots, w.clock())
		if step%50 == 0 {
			must(t, w.office.SetMap(whole))
		}
		w.wait(100 * time.Millisecond)
		want, wrong := issuance.Exactly(w.office, workload)
		before := w.outstanding(node(n).ID)
		grants := w.index.Check(node(n).ID, w.clock()).Grants()
		given, err := w.office.Grant(context.Background(), jwtNow(w))
		if (err == nil) != (wrong == nil) {
			t.Fatalf("got %v, want %v", err, wrong)
		}
		if err != nil {
			refused++
			continue
		}
		granted++
		if after := w.outstanding(node(n).ID); grants && after == 0 || !grants && after > before {
			t.Fatalf("%d grants of node %d after %d, which is granted something: %t", after, n, before, grants)
		}
		if given.Claims["risk_score"].(int) < want["risk_score"].(int) { //nolint:forcetypeassert // a claim
			t.Fatalf("got %v, want nothing better than %v", given.Claims, want)
		}
		if given.Claims["attested_at"].(string) > want["attested_at"].(string) { //nolint:forcetypeassert // a claim
			t.Fatalf("got %v, want nothing newer than %v", given.Claims, want)
		}
	}
	if refused < 50 || granted < 500 {
		t.Errorf("%d granted and %d refused: it shows too little", granted, refused)
	}
}

// TestManyNodesSayWhatFewDo: claims by one statement are those by a look at every node.
func TestManyNodesSayWhatFewDo(t *testing.T) {
	w := manyOf(t, lots, observed)
	for n := range lots {
		w.as(n, 2, func(s *subject.Subject) { s.Floor = attestd.Risk(n % 60) })
	}
	for _, after := range []time.Duration{0, time.Second, 5 * time.Second} {
		w.wait(after)
		want, err := issuance.Exactly(w.office, workload)
		must(t, err)
		if got := w.granted(jwtNow(w)).Claims; !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

// TestOneThatAttestedItselfSinceTheMapIsAmongMany: from its next grant on, as a part of what is said and of
// what is counted.
func TestOneThatAttestedItselfSinceTheMapIsAmongMany(t *testing.T) {
	w := newWorld(t, nil)
	whole := aliased(lots, w.clock())
	for n := range lots {
		w.publish(nil, n)
		whole.Agents[n].Selectors = []wire.Selector{selector("tenant:blue")}
	}
	whole.Entries[0].Selectors = whole.Agents[0].Selectors
	must(t, w.office.SetMap(whole))
	w.granted(x509SVID(workload))
	w.publish(func(s *subject.Subject) { s.Floor = attestd.Risk(60) }, lots)
	issuance.Learn(w.office, node(lots).ID, []string{"tenant:red"})
	if got := w.granted(jwtNow(w)).Claims["risk_score"]; got != 20 {
		t.Errorf("risk %v, want 20: it does not match", got)
	}
	issuance.Learn(w.office, node(lots).ID, []string{"tenant:blue"})
	if got := w.granted(jwtNow(w)).Claims["risk_score"]; got != 60 {
		t.Errorf("risk %v, want 60", got)
	}
	if got := w.outstanding(node(lots).ID); got != 1 {
		t.Errorf("%d grants of it, want 1", got)
	}
	if got := w.outstanding(node(0).ID); got != 3 {
		t.Errorf("%d grants of another, want 3", got)
	}
}

// TestComposersHoldManyNodesOver: each of them is among those that something can be issued for.
func TestComposersHoldManyNodesOver(t *testing.T) {
	w := manyOf(t, lots, func(c *issuance.Config) {
		c.Degraded = &issuance.Degraded{Handed: func(time.Time) error { return nil }}
	})
	w.granted(jwtNow(w))
	answer, err := w.office.Holdover(context.Background(), wire.HoldoverRequest{})
	must(t, err)
	if len(answer.Signed.Payload) == 0 {
		t.Fatal("nothing is handed out")
	}
	for n := range lots {
		if end := w.office.HeldOver(node(n).ID); end.Before(w.clock().Add(50 * time.Second)) {
			t.Fatalf("node %d is held over until %s", n, end)
		}
		if w.outstanding(node(n).ID) != 2 {
			t.Fatalf("%d grants of node %d, want 2", w.outstanding(node(n).ID), n)
		}
	}
	if end := w.office.HeldOver(node(lots).ID); !end.IsZero() {
		t.Errorf("a node that had no part is held over until %s", end)
	}
}

// TestAStormOnManyNodesMissesNoHold: whoever asks while nodes are held one by one, what a node's count says
// when its hold has returned is the last word, and when the last one is held nothing is granted any more.
func TestAStormOnManyNodesMissesNoHold(t *testing.T) {
	for range 5 {
		w := manyOf(t, lots, nil)
		var all sync.WaitGroup
		var given, done atomic.Int64
		for range 3 {
			all.Go(func() {
				for done.Load() == 0 {
					if _, err := w.office.Grant(context.Background(), x509SVID(workload)); err == nil {
						given.Add(1)
					}
				}
			})
		}
		for given.Load() == 0 {
			time.Sleep(time.Microsecond)
		}
		counted := map[int]int{}
		for n := range lots {
			before := int(given.Load())
			w.hold(node(n).ID)
			if counted[n] = w.outstanding(node(n).ID); counted[n] < before {
				t.Fatalf("node %d: %d are counted, %d were given", n, counted[n], before)
			}
		}
		last := given.Load() + 3 // counted, and not noted here yet
		time.Sleep(time.Millisecond)
		done.Store(1)
		all.Wait()
		if got := given.Load(); got > last {
			t.Fatalf("%d were given, %d before the last hold", got, last)
		}
		for n, want := range counted {
			if got := w.outstanding(node(n).ID); got != want {
				t.Fatalf("node %d: %d are counted, %d when it was held", n, got, want)
			}
		}
		if got := w.outstanding(workload); got != int(given.Load()) {
			t.Fatalf("%d are counted, %d were given", got, given.Load())
		}
	}
}
