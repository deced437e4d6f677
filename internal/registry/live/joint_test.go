package live_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
)

const workload = subject.ID("spiffe://example.org/shop/Web")

var errBarred = errors.New("barred")

// unlessBarred is what issuance decides, in short: nothing for a barred id, nor where no node is good.
func unlessBarred(own live.Standing, nodes []live.Standing) (int, error) {
	if own.Barred != "" || !slices.ContainsFunc(nodes, live.Standing.Grants) {
		return 0, errBarred
	}
	return 60, nil
}

func ids(machines ...int) (out []subject.ID) {
	for _, n := range machines {
		out = append(out, machine(n).ID)
	}
	return out
}

func outstanding(index *live.Index, id subject.ID) int {
	n, _ := index.Outstanding(id, start)
	return n
}

// TestAJointGrantCountsForTheIdAndEachNodeThatIsGood: and for no other.
func TestAJointGrantCountsForTheIdAndEachNodeThatIsGood(t *testing.T) {
	index := loaded(t, 4)
	index.Publish(nil, lay(machine(2).ID.Key(), attestd.StateQuarantined))
	nodes := append(ids(0, 1, 2), "spiffe://example.org/never/seen")
	var seen []live.Standing
	err := index.GrantOn(workload, nodes, start, func(own live.Standing, nodes []live.Standing) (int, error) {
		if own.ID != workload || own.Known || own.Grants() {
			t.Errorf("the workload is %+v, want a stranger", own)
		}
		seen = slices.Clone(nodes)
		return unlessBarred(own, nodes)
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, true, false, false} {
		if seen[i].ID != nodes[i] || seen[i].Grants() != want {
			t.Errorf("node %d is %+v, want one that is granted: %t", i, seen[i], want)
		}
		if got := outstanding(index, nodes[i]); (got == 1) != want {
			t.Errorf("%d grants are counted against node %d", got, i)
		}
	}
	if got := outstanding(index, workload); got != 1 {
		t.Errorf("%d grants are counted against the workload, want 1", got)
	}
	if got := outstanding(index, machine(3).ID); got != 0 {
		t.Errorf("%d grants are counted against a machine that had no part", got)
	}
}

func TestAJointGrantThatIsRefusedCountsNowhere(t *testing.T) {
	for name, row := range map[string]struct {
		decide live.Decide
		want   string
	}{
		"by who decides": {func(live.Standing, []live.Standing) (int, error) { return 60, errBarred }, "barred"},
		"no time":        {func(live.Standing, []live.Standing) (int, error) { return 0, nil }, "0 seconds"},
		"a day and more": {func(live.Standing, []live.Standing) (int, error) { return 86_401, nil }, "86401"},
	} {
		t.Run(name, func(t *testing.T) {
			index := loaded(t, 1)
			err := index.GrantOn(workload, ids(0), start, row.decide)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want an error with %q", err, row.want)
			}
			if outstanding(index, workload)+outstanding(index, machine(0).ID) != 0 {
				t.Error("it is counted all the same")
			}
		})
	}
	var undecided *attestd.UndecidedError
	if err := live.New().GrantOn(workload, nil, start, unlessBarred); !errors.As(err, &undecided) {
		t.Errorf("before the index is loaded: got %v, want undecided", err)
	}
}

// TestGrantsStayCountedWhenTheNameGetsARow: as a name does that is quarantined.
func TestGrantsStayCountedWhenTheNameGetsARow(t *testing.T) {
	index := loaded(t, 1)
	for range 3 {
		if err := index.GrantOn(workload, ids(0), start, unlessBarred); err != nil {
			t.Fatal(err)
		}
	}
	row := subject.Subject{ID: workload, State: attestd.StateQuarantined, Generation: 1}
	index.Publish([]subject.Subject{row}, lay(workload.Key(), attestd.StateQuarantined))
	n, until := index.Outstanding(workload, start)
	if n != 3 || !until.Equal(start.Add(time.Minute)) {
		t.Errorf("got %d until %v, want 3 for a minute", n, until)
	}
	lower := subject.ID(strings.ToLower(string(workload)))
	if err := index.GrantOn(lower, ids(0), start, unlessBarred); !errors.Is(err, errBarred) {
		t.Errorf("another spelling of the name: got %v, want a refusal", err)
	}
}

// TestNoJointGrantFollowsAHold: whoever lays it on whatever, when the hold has returned the count that
// is read is the last.
func TestNoJointGrantFollowsAHold(t *testing.T) {
	one := machine(0)
	for name, hold := range map[string]func(*live.Index){
		"on the workload": func(x *live.Index) { x.Publish(nil, lay(workload.Key(), attestd.StateQuarantined)) },
		"directly on the workload": func(x *live.Index) {
			x.Hold([]subject.Bar{{Key: workload.Key(), State: attestd.StateQuarantined}})
		},
		"on the node": func(x *live.Index) { x.Publish(nil, lay(one.ID.Key(), attestd.StateQuarantined)) },
		"on the node's hardware": func(x *live.Index) {
			x.Publish(nil, lay(key(subject.BarInstance, one.Instance.Value), attestd.StateRevoked))
		},
		"directly on its host": func(x *live.Index) {
			x.Hold([]subject.Bar{{Key: key(subject.BarHost, one.Host), State: attestd.StateQuarantined}})
		},
		"by its row": func(x *live.Index) {
			late := one
			late.Generation, late.State = 2, attestd.StateSuspect
			x.Publish([]subject.Subject{late}, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 40 {
				index := loaded(t, 1)
				var given atomic.Int64
				var group sync.WaitGroup
				stop := make(chan struct{})
				for range 3 {
					group.Go(func() {
						for {
							select {
							case <-stop:
								return
							default:
							}
							if index.GrantOn(workload, ids(0), start, unlessBarred) == nil {
								given.Add(1)
							}
						}
					})
				}
				for given.Load() == 0 {
					time.Sleep(time.Microsecond)
				}
				hold(index)
				counted := [2]int{outstanding(index, workload), outstanding(index, one.ID)}
				time.Sleep(50 * time.Microsecond)
				close(stop)
				group.Wait()
				if total := int(given.Load()); counted != [2]int{total, total} {
					t.Fatalf("%v were counted when the hold had returned, %d were given", counted, total)
				}
			}
		})
	}
}

// TestJointGrantsOfManyDoNotStopEachOther: they take many locks, and others take one.
func TestJointGrantsOfManyDoNotStopEachOther(t *testing.T) {
	index := loaded(t, 300)
	all := ids()
	for i := range 300 {
		all = append(all, machine(i).ID)
	}
	back := slices.Clone(all)
	slices.Reverse(back)
	var group sync.WaitGroup
	done := make(chan struct{})
	for _, order := range [][]subject.ID{all, back} {
		group.Go(func() {
			for range 100 {
				_ = index.GrantOn(workload, order, start, unlessBarred)
			}
		})
	}
	group.Go(func() {
		for i := range 500 {
			one := machine(i % 300)
			index.Publish(nil, lay(key(subject.BarHost, one.Host), attestd.StateQuarantined))
			_, _ = index.Holds()
			index.Publish(nil, lift(key(subject.BarHost, one.Host)))
			_ = index.SharedHost(one.Host)
		}
	})
	go func() { group.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("they wait for each other")
	}
}

// TestStrangersThatAreDoneAreForgotten: names of workloads are for whoever makes entries to choose.
func TestStrangersThatAreDoneAreForgotten(t *testing.T) {
	index := loaded(t, 1)
	now := start
	for i := range 100_000 {
		if i%10_000 == 0 {
			now = now.Add(2 * time.Minute)
		}
		id := subject.ID(fmt.Sprintf("spiffe://example.org/%d", i))
		if err := index.GrantOn(id, ids(0), now, unlessBarred); err != nil {
			t.Fatal(err)
		}
		if n, _ := index.Outstanding(id, now); n != 1 {
			t.Fatalf("%d grants of %s, want 1", n, id)
		}
	}
	if got := index.Strangers(); got > 50_000 {
		t.Errorf("%d names are remembered, of which 10,000 have a grant", got)
	}
}

// TestWhoeverWaitsIsToldOfEveryChange: and asks first, so that none falls in between.
func TestWhoeverWaitsIsToldOfEveryChange(t *testing.T) {
	index := loaded(t, 2)
	on := key(subject.BarInstance, machine(1).Instance.Value)
	for name, change := range map[string]func(){
		"a publication": func() { index.Publish([]subject.Subject{machine(1)}, nil) },
		"a bar":         func() { index.Publish(nil, lay(on, attestd.StateQuarantined)) },
		"a direct hold": func() { index.Hold([]subject.Bar{{Key: on, State: attestd.StateQuarantined}}) },
		"a settlement":  func() { index.Settle([]subject.Key{on}) },
		"a word":        index.Announce,
	} {
		told, also := index.Changed(), index.Changed()
		select {
		case <-told:
			t.Fatalf("%s: told before anything happened", name)
		default:
		}
		change()
		for _, waiting := range []<-chan struct{}{told, also} {
			select {
			case <-waiting:
			default:
				t.Errorf("%s is effective and nobody was told", name)
			}
		}
	}
}

// jointly draws a joint grant and compares what it saw and counted with the plain index.
func jointly(t *rapid.T, p plain, given map[string]int, index *live.Index) {
	own := someone(t).ID
	var nodes []subject.ID
	for range rapid.IntRange(0, 3).Draw(t, "nodes") {
		nodes = append(nodes, someone(t).ID)
	}
	refuse := rapid.IntRange(0, 3).Draw(t, "refuse") == 0
	var good []subject.ID
	check := func(id subject.ID, got live.Standing) {
		want, barred := p.state(id)
		if got.State != want || (got.Barred != "") != barred {
			t.Fatalf("%s is %+v, want %s, barred %t", id, got, want, barred)
		}
	}
	err := index.GrantOn(own, nodes, start, func(is live.Standing, on []live.Standing) (int, error) {
		check(own, is)
		for i, node := range on {
			check(nodes[i], node)
			row, known := p.rows[nodes[i].Fold()]
			_, barred := p.state(nodes[i])
			if want := known && row.State == attestd.StateTrusted && !barred; node.Grants() != want {
				t.Fatalf("%s is granted: %t, want %t", nodes[i], node.Grants(), want)
			}
			if node.Grants() {
				good = append(good, nodes[i])
			}
		}
		if refuse {
			return 0, errBarred
		}
		return 60, nil
	})
	if (err != nil) != refuse {
		t.Fatalf("got %v, want a refusal: %t", err, refuse)
	}
	if !refuse {
		for _, id := range append(good, own) {
			given[id.Fold()]++
		}
	}
	for id, want := range given {
		if got, _ := index.Outstanding(subject.ID(id), start); got != want {
			t.Fatalf("%d grants of %s, want %d", got, id, want)
		}
	}
}

// holds are the ids that are held, as the index spells them.
func (p plain) holds() []subject.ID {
	var out []subject.ID
	names := map[string]bool{}
	for folded, row := range p.rows {
		state, barred := p.state(row.ID)
		if names[folded] = true; barred || subject.Barred(state) {
			out = append(out, row.ID)
		}
	}
	for _, bars := range []map[subject.Key]attestd.State{p.durable, p.direct} {
		for on, state := range bars {
			if on.Kind == string(subject.BarSubject) && on.Value != "" && state != attestd.StateUnknown && !names[on.Value] {
				names[on.Value] = true
				out = append(out, subject.ID(on.Value))
			}
		}
	}
	slices.Sort(out)
	return out
}

// TestAHoldWaitsForTheGrantThatIsDecided: it must not return in between, whatever it lies on.
func TestAHoldWaitsForTheGrantThatIsDecided(t *testing.T) {
	for name, on := range map[string]subject.Key{
		"on the workload": workload.Key(), "on the node": machine(0).ID.Key(),
		"on the node's host": key(subject.BarHost, machine(0).Host),
	} {
		t.Run(name, func(t *testing.T) {
			index := loaded(t, 1)
			held := make(chan struct{})
			err := index.GrantOn(workload, ids(0), start, func(live.Standing, []live.Standing) (int, error) {
				go func() {
					index.Publish(nil, lay(on, attestd.StateQuarantined))
					close(held)
				}()
				select {
				case <-held:
					t.Error("the hold was effective before the grant was counted")
				case <-time.After(20 * time.Millisecond):
				}
				return 60, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			<-held
			if err := index.GrantOn(workload, ids(0), start, unlessBarred); !errors.Is(err, errBarred) {
				t.Errorf("got %v after the hold, want a refusal", err)
			}
		})
	}
}
