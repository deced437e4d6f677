package live_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
)

// plain is the index as one would write it first: maps, and every question a walk through them.
type plain struct {
	rows            map[string]subject.Subject
	durable, direct map[subject.Key]attestd.State
}

func (p plain) state(id subject.ID) (attestd.State, bool) {
	row, known := p.rows[id.Fold()]
	if !known {
		row.ID = id
	}
	state := row.State
	barred := false
	for _, on := range []subject.Key{
		row.ID.Key(), key(subject.BarInstance, row.Instance.Value), key(subject.BarBoot, row.Boot),
		key(subject.BarHost, row.Host),
	} {
		held := max(p.durable[on], p.direct[on])
		if on.Value != "" && held != attestd.StateUnknown {
			state, barred = max(state, held), true
		}
	}
	return state, barred
}

func (p plain) onHost(host string) (ids []subject.ID) {
	for _, row := range p.rows {
		if row.Host == host {
			ids = append(ids, row.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// few draws from few values, so that subjects share hardware and names coincide; some are empty.
func few(t *rapid.T, what string) string {
	n := rapid.IntRange(0, 4).Draw(t, what)
	switch {
	case n == 0 && what != "instance":
		return ""
	case n == 4:
		return fmt.Sprintf("Zone/%s", what) // an id has its digest
	case n == 3:
		return what + "-short"
	default:
		return digest(what, n)
	}
}

func someone(t *rapid.T) subject.Subject {
	one := subject.Subject{
		Tenant: "default", Format: "tpm", Ownership: subject.MethodInventory, Floor: attestd.Risk(10),
		Instance: attestd.Handle{Kind: attestd.HandleInstance, Value: few(t, "instance")},
		DueAt:    start.Add(time.Hour), EvidenceAt: start,
	}
	switch rapid.IntRange(0, 3).Draw(t, "name") {
	case 0:
		one.ID = subject.ID("spiffe://example.org/Web/" + few(t, "instance"))
	case 1:
		one.ID = subject.ID("spiffe://example.org/long/" + strings.Repeat("x", 50) + few(t, "instance"))
	default:
		if one.Instance.Value == "" {
			one.Instance.Value = "i"
		}
		var err error
		if one.ID, err = subject.AgentID("example.org", "tpm", one.Instance); err != nil {
			t.Fatal(err)
		}
		if rapid.IntRange(0, 3).Draw(t, "other hardware") == 0 {
			one.Instance.Value = few(t, "instance")
		}
	}
	one.Boot, one.Host = few(t, "boot"), few(t, "host")
	one.State = attestd.State(rapid.IntRange(0, 4).Draw(t, "state")) //nolint:gosec // five states
	return one
}

func someKey(t *rapid.T, p plain) subject.Key {
	kind := rapid.SampledFrom([]subject.BarKind{
		subject.BarSubject, subject.BarInstance, subject.BarBoot, subject.BarHost,
	}).Draw(t, "kind")
	if kind == subject.BarSubject {
		return someone(t).ID.Key()
	}
	return key(kind, few(t, string(kind)))
}

// both is an index and the plain one that it must agree with.
type both struct {
	plain
	index *live.Index
	// held and version are what the index said was held.
	held    []subject.ID
	version uint64
}

func newBoth(t *rapid.T) *both {
	b := &both{index: loaded(t, 0), plain: plain{
		map[string]subject.Subject{}, map[subject.Key]attestd.State{}, map[subject.Key]attestd.State{},
	}}
	b.held, b.version = b.index.Holds()
	return b
}

// change publishes, holds, settles or lifts something in both.
func (b *both) change(t *rapid.T, step int) {
	p, index := b.plain, b.index
	switch step {
	case 0, 1, 2:
		one := someone(t)
		one.Generation = p.rows[one.ID.Fold()].Generation + 1
		if one.Generation > 1 {
			one.ID = p.rows[one.ID.Fold()].ID // the spelling of an id stays
		}
		p.rows[one.ID.Fold()] = one
		index.Publish([]subject.Subject{one}, nil)
	case 3:
		on := someKey(t, p)
		if rapid.Bool().Draw(t, "lift") {
			delete(p.durable, on)
			index.Publish(nil, lift(on))
		} else if on.Value != "" {
			state := attestd.State(rapid.IntRange(3, 4).Draw(t, "held")) //nolint:gosec // two states
			p.durable[on] = state
			index.Publish(nil, lay(on, state))
		}
	case 4:
		on := someKey(t, p)
		p.direct[on] = max(p.direct[on], attestd.StateQuarantined)
		index.Hold([]subject.Bar{{Key: on, State: attestd.StateQuarantined}})
	default:
		on := someKey(t, p)
		delete(p.direct, on)
		index.Settle([]subject.Key{on})
	}
}

// agree demands that both say the same.
func (b *both) agree(t *rapid.T) {
	p, index := b.plain, b.index
	for folded, row := range p.rows {
		for _, id := range []subject.ID{row.ID, subject.ID(folded), subject.ID(strings.ToUpper(folded))} {
			want, barred := p.state(id)
			got := index.Check(id, start)
			if got.State != want || (got.Barred != "") != barred || got.ID != row.ID {
				t.Fatalf("%s is %+v, want %s, barred %t, as %s", id, got, want, barred, row.ID)
			}
		}
		if row.Host != "" {
			got := index.SharedHost(row.Host)
			slices.Sort(got)
			if !slices.Equal(got, p.onHost(row.Host)) {
				t.Fatalf("host %s has %v, want %v", row.Host, got, p.onHost(row.Host))
			}
		}
	}
	now, next := index.Holds()
	if want := p.holds(); !slices.Equal(now, want) {
		t.Fatalf("%v are held, want %v", now, want)
	}
	if changed := !slices.Equal(now, b.held); changed && next <= b.version || next < b.version {
		t.Fatalf("version %d after %d, and the holds changed: %t", next, b.version, changed)
	}
	b.held, b.version = now, next
	stranger := someone(t).ID
	want, _ := p.state(stranger)
	if got := index.Check(stranger, start); got.State != want {
		t.Fatalf("%s is %s, want %s", stranger, got.State, want)
	}
}

// TestTheIndexAgreesWithAPlainOne: whatever is published, held, settled and lifted in whatever order.
func TestTheIndexAgreesWithAPlainOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBoth(t)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			b.change(t, rapid.IntRange(0, 5).Draw(t, "step"))
			b.agree(t)
		}
	})
}

// TestJointGrantsAgreeWithAPlainIndex: what they see, what they count, and against whom.
func TestJointGrantsAgreeWithAPlainIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBoth(t)
		given := map[string]int{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "grant") {
				jointly(t, b.plain, given, b.index)
			} else {
				b.change(t, rapid.IntRange(0, 5).Draw(t, "step"))
			}
		}
	})
}

// TestKeysComeAndGo: every machine begins a new boot again and again; a boot that nobody has any more is
// forgotten, and those that stay are found.
func TestKeysComeAndGo(t *testing.T) {
	const n, rounds = 5_000, 4
	index := loaded(t, n)
	boot := func(i, round int) subject.Key {
		if i%3 == 0 { // some stay as they are
			round = 0
		}
		if round == 0 {
			return key(subject.BarBoot, digest("boot", i))
		}
		return key(subject.BarBoot, digest(fmt.Sprint("boot ", round), i))
	}
	for round := 1; round < rounds; round++ {
		for i := range n {
			one := machine(i)
			one.Generation, one.Boot = uint64(round)+1, boot(i, round).Value
			index.Publish([]subject.Subject{one}, nil)
		}
		for i := 0; i < n; i += 5 {
			old, now := boot(i, round-1), boot(i, round)
			index.Publish(nil, lay(old, attestd.StateQuarantined))
			if got := index.Check(machine(i).ID, start); got.Grants() != (old != now) {
				t.Fatalf("round %d: machine %d is %+v by a bar on its former boot", round, i, got)
			}
			index.Publish(nil, append(lift(old), lay(now, attestd.StateQuarantined)...))
			if got := index.Check(machine(i).ID, start); got.Barred != subject.BarBoot {
				t.Fatalf("round %d: machine %d is %+v by a bar on its boot", round, i, got)
			}
			index.Publish(nil, lift(now))
		}
		if got := index.Counts([]string{"*"}, start); got.States["trusted"] != n {
			t.Fatalf("round %d: got %+v, want %d trusted", round, got, n)
		}
	}
}
