package live

import (
	"hash/maphash"
	"iter"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Index holds every subject in memory. It is safe for concurrent use. The zero Index is not usable;
// one of [New] refuses everything until it is loaded.
type Index struct {
	seed  maphash.Seed
	since atomic.Int64 // nanoseconds of 1970; 0 before the index is loaded
	// presumed is until when there may be grants that were not counted, in nanoseconds of 1970; 0 for
	// never.
	presumed atomic.Int64
	full     atomic.Bool // a bar found no room: nothing is granted any more
	// sequence is the number of the last change that is effective.
	sequence atomic.Uint64
	shards   [shards]shard

	// publishing is taken by whatever changes states. Locks are taken in the order publishing, keys,
	// shard, groups, group.
	publishing                 sync.Mutex
	keys                       *keys
	prefixes, tenants, formats *words
	// agents are the prefixes of ids whose last segment names an instance.
	agents map[string]bool
	// sweep is where the next [Index.Overdue] begins: a shard, and a number in it.
	sweep  atomic.Uint64
	holds  holds
	notice notice
	groups groups
	rooms  sync.Pool // of jointRoom
}

// New returns an index that refuses everything until it is loaded.
func New() *Index {
	x := &Index{
		seed: maphash.MakeSeed(), keys: newKeys(), prefixes: newWords(), tenants: newWords(),
		formats: newWords(), agents: map[string]bool{}, holds: newHolds(),
	}
	x.formats.take("") // what finds no number of its own has this one
	for i := range x.shards {
		x.shards[i].due = math.MaxInt64
	}
	return x
}

// Load takes in what the registry has, as of at by the store's clock, which [Index.Since] returns
// from then on. It is called once, before anything else.
//
// Errors: the first that subjects or bars yield; the index then goes on refusing everything.
func (x *Index) Load(
	at time.Time, subjects iter.Seq2[subject.Subject, error], bars iter.Seq2[subject.Bar, error],
) error {
	for one, err := range bars {
		if err != nil {
			return err
		}
		x.Publish(nil, []subject.BarWrite{{Key: one.Key, Next: &one}})
	}
	defer x.changed()
	x.publishing.Lock()
	defer x.publishing.Unlock()
	for one, err := range subjects {
		if err != nil {
			return err
		}
		x.publish(one)
	}
	x.since.Store(at.UnixNano())
	return nil
}

// Publish makes what was committed effective; when it has returned no grant is given against it.
// Publications come in the order of their commits. A row that is older than the one here is passed
// over.
func (x *Index) Publish(subjects []subject.Subject, bars []subject.BarWrite) {
	defer x.changed()
	x.publishing.Lock()
	defer x.publishing.Unlock()
	last := map[subject.Key]int{} // several writes of one commit may change the same key
	for i, bar := range bars {
		last[bar.Key] = i
	}
	for i, bar := range bars { // what bars comes first, what frees last
		if bar.Next != nil && last[bar.Key] == i {
			x.bar(bar.Key, func(k *key) { k.durable = hold(bar.Next.State) })
		}
	}
	for _, one := range subjects {
		x.publish(one)
	}
	for i, bar := range bars {
		if bar.Next == nil && last[bar.Key] == i {
			x.bar(bar.Key, func(k *key) { k.durable = 0 })
		}
	}
}

// Hold lays bars that are not durable yet, beside those that are. They stay through every Publish
// until [Index.Settle].
func (x *Index) Hold(bars []subject.Bar) {
	defer x.changed()
	x.publishing.Lock()
	defer x.publishing.Unlock()
	for _, bar := range bars {
		x.bar(bar.Key, func(k *key) { k.direct = max(k.direct, hold(bar.State)) })
	}
}

// Settle ends holds of [Index.Hold], after the registry has taken them over.
func (x *Index) Settle(held []subject.Key) {
	defer x.changed()
	x.publishing.Lock()
	defer x.publishing.Unlock()
	for _, one := range held {
		x.bar(one, func(k *key) { k.direct = 0 })
	}
}

// Held returns the worst state that a bar puts on any of the keys, and the key; StateUnknown for no
// bar. Before the index is loaded it says quarantined: nothing is known to be free.
func (x *Index) Held(of ...subject.Key) (attestd.State, subject.Key) {
	if !x.ready() {
		return attestd.StateQuarantined, subject.Key{}
	}
	x.keys.mu.RLock()
	defer x.keys.mu.RUnlock()
	var worst attestd.State
	var on subject.Key
	for _, one := range of {
		if held := x.keys.held(one); held > worst {
			worst, on = held, one
		}
	}
	return worst, on
}

func (x *Index) ready() bool { return x.since.Load() != 0 && !x.full.Load() }

func (x *Index) locate(folded string) (*shard, uint8, uint32) {
	hash := maphash.String(x.seed, folded)
	number := uint8(hash >> 56)
	return &x.shards[number], number, uint32(hash) //nolint:gosec // the low half
}

// Check says in which state the subject is.
func (x *Index) Check(id subject.ID, now time.Time) Standing {
	if !x.ready() {
		return Standing{ID: id}
	}
	if s, found := x.check(string(id), now); found {
		return s
	}
	folded := id.Fold()
	if folded != string(id) {
		if s, found := x.check(folded, now); found {
			return s
		}
	}
	return x.stranger(id)
}

func (x *Index) check(folded string, now time.Time) (Standing, bool) {
	s, _, hash := x.locate(folded)
	s.mu.RLock()
	defer s.mu.RUnlock()
	number, e := x.seek(s, hash, folded)
	if e == nil {
		return Standing{}, false
	}
	return x.standing(e, spelled(s, number, e, folded), now), true
}

// spelled returns the id as it was published, without building it where its folded form is that.
func spelled(s *shard, number uint32, e *entry, folded string) subject.ID {
	if e.form == formWhole {
		return subject.ID(s.texts[number])
	}
	return subject.ID(folded)
}

// stranger is the standing of an id without a row: its name may be barred already.
func (x *Index) stranger(id subject.ID) Standing {
	s := Standing{ID: id}
	if held, _ := x.Held(id.Key()); held != attestd.StateUnknown {
		s.State, s.Barred = held, subject.BarSubject
	}
	return s
}

// Since returns from when on grants are counted; zero before the index is loaded.
func (x *Index) Since() time.Time {
	if at := x.since.Load(); at != 0 {
		return time.Unix(0, at).UTC()
	}
	return time.Time{}
}

// Len returns how many subjects there are.
func (x *Index) Len() int {
	n := 0
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.RLock()
		n += int(s.len)
		s.mu.RUnlock()
	}
	return n
}
