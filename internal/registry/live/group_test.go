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

// viewer is whoever grants on a group: it has looked once, and takes in what changed since.
type viewer struct {
	group *live.Group
	nodes []subject.ID
	seq   uint64
	is    []live.Standing
}

func view(t fataler, index *live.Index, nodes []subject.ID) *viewer {
	t.Helper()
	v := &viewer{group: index.Group(nodes, start), nodes: nodes, is: make([]live.Standing, len(nodes))}
	if v.group == nil {
		t.Fatal("there is no group")
	}
	v.look(t, index)
	return v
}

func (v *viewer) look(t fataler, index *live.Index) {
	t.Helper()
	var err error
	v.seq, err = index.Look(v.group, start, func(i int, s live.Standing) { v.is[i] = s })
	if err != nil {
		t.Fatal(err)
	}
}

var errNoneLeft = errors.New("the member grants nothing")

// grant grants on a member for a minute.
func (v *viewer) grant(index *live.Index, own subject.ID, member int, refuse bool) error {
	since := func() uint64 { return v.seq }
	return index.GrantAmong(own, v.group, member, since, start, func(
		_, one live.Standing, changed []live.Touch, seq uint64,
	) (int, error) {
		for _, touch := range changed {
			v.is[touch.Member] = touch.Standing
		}
		v.seq = seq
		if !one.Grants() {
			return 0, errNoneLeft
		}
		if refuse {
			return 0, errBarred
		}
		return 60, nil
	})
}

// TestGroupGrantsAgreeWithAPlainIndex: after any changes whoever looked once knows how every member
// stands; a grant rests on a member that is granted something; and no grant that a member had a part in is
// left out of its count, nor is one counted that was given after it was held.
func TestGroupGrantsAgreeWithAPlainIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBoth(t)
		own := subject.ID("spiffe://example.org/shop/web")
		nodes := make([]subject.ID, 0, 12)
		for range rapid.IntRange(1, 12).Draw(t, "members") {
			if id := someone(t).ID; !slices.Contains(nodes, id) {
				nodes = append(nodes, id, subject.ID(strings.ToUpper(string(id))))
			}
		}
		v := view(t, b.index, nodes)
		given, least := 0, make([]int, len(nodes))
		most := make([]int, len(nodes)) // as counted when it was granted something last
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 2).Draw(t, "change") != 0 {
				b.change(t, rapid.IntRange(0, 5).Draw(t, "step"))
			}
			for i, id := range nodes { // a change can have made it good for a moment
				if b.good(id) {
					most[i] = given
				}
			}
			member := rapid.IntRange(0, len(nodes)-1).Draw(t, "member")
			refuse := rapid.IntRange(0, 3).Draw(t, "refuse") == 0
			err := v.grant(b.index, own, member, refuse)
			want := error(nil)
			switch {
			case !b.good(nodes[member]):
				want = errNoneLeft
			case refuse:
				want = errBarred
			}
			if !errors.Is(err, want) {
				t.Fatalf("got %v, want %v", err, want)
			}
			if err == nil {
				given++
			}
			for i, id := range nodes {
				state, barred := b.plain.state(id)
				good := b.good(id)
				if got := v.is[i]; got.State != state || got.Grants() != good || (got.Barred != "") != barred {
					t.Fatalf("%s is seen as %+v, want %s, barred %t", id, got, state, barred)
				}
				if good {
					most[i] = given
					if err == nil {
						least[i]++
					}
				}
				if n := outstanding(b.index, id); n < least[i] || n > most[i] {
					t.Fatalf("%d grants of %s, want %d to %d", n, id, least[i], most[i])
				}
			}
			if n := outstanding(b.index, own); n != given {
				t.Fatalf("%d grants of the id, want %d", n, given)
			}
		}
	})
}

// good reports whether the plain index grants something to the subject.
func (b *both) good(id subject.ID) bool {
	row, known := b.plain.rows[id.Fold()]
	_, barred := b.plain.state(id)
	return known && row.State == attestd.StateTrusted && !barred
}

// TestNoGroupGrantFollowsAHold: whoever lays it on whatever, when the hold has returned the count that is
// read has every grant that there will be.
func TestNoGroupGrantFollowsAHold(t *testing.T) {
	one := machine(0)
	for name, hold := range map[string]func(*live.Index){
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
		for _, other := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, another is left %t", name, other), func(t *testing.T) {
				for range 20 {
					groupRace(t, one.ID, hold, other)
				}
			})
		}
	}
}

// groupRace grants on a group while one of its members gets held. Other says that grants rest on another
// one as well.
func groupRace(t *testing.T, held subject.ID, hold func(*live.Index), other bool) {
	t.Helper()
	index := loaded(t, 20)
	nodes := ids(0, 8, 16) // on three hosts
	var onHeld, given atomic.Int64
	var group sync.WaitGroup
	stop := make(chan struct{})
	for n := range 3 {
		member := 0
		if other && n != 0 {
			member = n
		}
		v := view(t, index, nodes)
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				switch err := v.grant(index, workload, member, false); {
				case err == nil:
					given.Add(1)
					if member == 0 {
						onHeld.Add(1)
					}
				case !errors.Is(err, errNoneLeft):
					t.Error(err)
					return
				}
			}
		})
	}
	for onHeld.Load() == 0 {
		time.Sleep(time.Microsecond)
	}
	hold(index)
	counted := outstanding(index, held)
	time.Sleep(50 * time.Microsecond)
	close(stop)
	group.Wait()
	if again := outstanding(index, held); again != counted {
		t.Fatalf("%d were counted when the hold had returned, %d later", counted, again)
	}
	if total := int(onHeld.Load()); counted < total || !other && counted != total {
		t.Fatalf("%d were counted when the hold had returned, %d rested on it", counted, total)
	}
	for _, id := range append(nodes[1:], workload) {
		if n := outstanding(index, id); n != int(given.Load()) {
			t.Fatalf("%d were counted for %s, %d were given", n, id, given.Load())
		}
	}
}

// TestAHoldWaitsForTheGroupGrantThatIsDecided: it must not return in between.
func TestAHoldWaitsForTheGroupGrantThatIsDecided(t *testing.T) {
	for name, on := range map[string]subject.Key{
		"on the workload": workload.Key(), "on the node": machine(0).ID.Key(),
		"on another node": machine(1).ID.Key(),
	} {
		t.Run(name, func(t *testing.T) {
			index := loaded(t, 2)
			v := view(t, index, ids(0, 1))
			held := make(chan struct{})
			none := func() uint64 { return 0 }
			err := index.GrantAmong(workload, v.group, 0, none, start, func(
				live.Standing, live.Standing, []live.Touch, uint64,
			) (int, error) {
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
			if on == workload.Key() {
				return
			}
			for _, id := range ids(0, 1) {
				if n := outstanding(index, id); n != 1 {
					t.Errorf("%d grants of %s, want 1", n, id)
				}
			}
		})
	}
}

// TestAGroupThatRestsIsRetired: its grants go on to be counted until they end, and who grants on it is told.
func TestAGroupThatRestsIsRetired(t *testing.T) {
	index := loaded(t, 40)
	at := start
	var first *viewer
	for i := range 20 { // a fleet that grows
		all := ids()
		for n := range 10 + i {
			all = append(all, machine(n).ID)
		}
		group := index.Group(all, at)
		since := func() uint64 { return 0 }
		err := index.GrantAmong(workload, group, 0, since, at, func(
			_, one live.Standing, _ []live.Touch, _ uint64,
		) (int, error) {
			if !one.Grants() {
				t.Error("the node is not granted anything")
			}
			return 1200, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = &viewer{group: group, is: make([]live.Standing, len(all))}
		}
		at = at.Add(31 * time.Second)
	}
	if err := first.grant(index, workload, 0, false); !errors.Is(err, live.ErrGone) {
		t.Errorf("got %v for a group that has rested, want %v", err, live.ErrGone)
	}
	if _, err := index.Look(first.group, at, nil); !errors.Is(err, live.ErrGone) {
		t.Errorf("got %v for a look at it, want %v", err, live.ErrGone)
	}
	for n, least := range map[int]int{0: 20, 10: 19, 28: 1, 29: 0} {
		if got, _ := index.Outstanding(machine(n).ID, at); got < least || least == 0 && got != 0 {
			t.Errorf("machine %d: %d grants, want at least %d", n, got, least)
		}
	}
	if got, _ := index.Outstanding(machine(0).ID, at.Add(20*time.Minute)); got != 0 {
		t.Errorf("%d grants after the last has ended", got)
	}
}

// TestNothingRestsOnAMemberThatIsCountedNoMore: who looked at it by a later clock saw that its evidence is
// overdue, and ended its count. Fresh evidence begins it again.
func TestNothingRestsOnAMemberThatIsCountedNoMore(t *testing.T) {
	index := loaded(t, 2)
	v := view(t, index, ids(0, 1))
	late := machine(0).DueAt
	if _, err := index.Look(v.group, late, func(int, live.Standing) {}); err != nil {
		t.Fatal(err)
	}
	if err := v.grant(index, workload, 0, false); !errors.Is(err, errNoneLeft) {
		t.Fatalf("got %v, want %v", err, errNoneLeft)
	}
	fresh := machine(0)
	fresh.Generation, fresh.DueAt = 2, late.Add(time.Hour)
	index.Publish([]subject.Subject{fresh}, nil)
	if err := v.grant(index, workload, 0, false); err != nil {
		t.Fatal(err)
	}
	if got := [2]int{outstanding(index, machine(0).ID), outstanding(index, machine(1).ID)}; got != [2]int{1, 0} {
		t.Errorf("%d grants, want one of the first alone", got)
	}
}

// TestWhoMissedTooMuchLooksAgain: changes are kept for a while.
func TestWhoMissedTooMuchLooksAgain(t *testing.T) {
	index := loaded(t, 2)
	v := view(t, index, ids(0, 1))
	one := machine(1)
	for range 600 {
		one.Generation++
		index.Publish([]subject.Subject{one}, nil)
	}
	if err := v.grant(index, workload, 0, false); !errors.Is(err, live.ErrLook) {
		t.Fatalf("got %v, want %v", err, live.ErrLook)
	}
	v.look(t, index)
	if err := v.grant(index, workload, 0, false); err != nil {
		t.Fatal(err)
	}
}

// TestGroupsOfTheSameMembersAreOne: and there is a most of those that are in use.
func TestGroupsOfTheSameMembersAreOne(t *testing.T) {
	index := loaded(t, 2)
	first := index.Group(ids(0, 1), start)
	if index.Group(ids(0, 1), start) != first {
		t.Error("the same members, and two groups")
	}
	n := 0
	for i := range 400 {
		if index.Group([]subject.ID{subject.ID(fmt.Sprint("spiffe://example.org/", i))}, start) != nil {
			n++
		}
	}
	if n != 255 {
		t.Errorf("%d groups more, want 255", n)
	}
	upper := subject.ID(strings.ToUpper(string(machine(0).ID)))
	if group := index.Group(ids(0, 1), start); !index.Has(group, upper) || index.Has(group, workload) {
		t.Error("it does not have its members, or others")
	}
}

func TestAGroupIsNothingBeforeTheIndexIsLoaded(t *testing.T) {
	index := live.New()
	group := index.Group(ids(0), start)
	var undecided *attestd.UndecidedError
	if _, err := index.Look(group, start, nil); !errors.As(err, &undecided) {
		t.Errorf("got %v from a look, want undecided", err)
	}
	v := &viewer{group: group, is: make([]live.Standing, 1)}
	if err := v.grant(index, workload, 0, false); !errors.As(err, &undecided) {
		t.Errorf("got %v from a grant, want undecided", err)
	}
}

func TestAGroupGrantHasAnEnd(t *testing.T) {
	index := loaded(t, 1)
	v := view(t, index, ids(0))
	for _, seconds := range []int{-1, 0, 1 << 40} {
		err := index.GrantAmong(workload, v.group, 0, func() uint64 { return v.seq }, start, func(
			live.Standing, live.Standing, []live.Touch, uint64,
		) (int, error) {
			return seconds, nil
		})
		var caller *attestd.CallerError
		if !errors.As(err, &caller) || caller.Class != attestd.ClassMalformed {
			t.Errorf("%d seconds: got %v, want MALFORMED", seconds, err)
		}
	}
	if n := outstanding(index, ids(0)[0]); n != 0 {
		t.Errorf("%d grants are counted, want none", n)
	}
}
