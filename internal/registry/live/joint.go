package live

import (
	"math/bits"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Decide says whether a grant may be given to own, which runs on nodes, and how long what is issued on
// it can live. It is called under locks and must not ask the index. An error is the answer of
// [Index.GrantOn], and nothing is counted. nodes is used again after it has returned.
type Decide func(own Standing, nodes []Standing) (seconds int, err error)

// GrantOn reads the states of an id and of the subjects that it runs on, lets decide say what follows,
// and counts a grant for the id and for each node that [Standing.Grants], all in one step: no hold
// becomes effective between what decide saw and the counts. The id may be one that the registry has no
// row of, as workloads are: a bar on its name is seen all the same, and [Index.Outstanding] has its
// grants.
//
// Errors: that of decide; before the index is loaded an [*attestd.UndecidedError] of class
// STORE_UNAVAILABLE; an [*attestd.CallerError] where decide's seconds will not do.
func (x *Index) GrantOn(
	id subject.ID, nodes []subject.ID, now time.Time, decide Decide,
) error {
	room, _ := x.rooms.Get().(*jointRoom)
	if room == nil {
		room = &jointRoom{}
	}
	defer x.rooms.Put(room)
	places := append(room.places[:0], x.placeOf(id))
	var locks shardSet
	locks.add(places[0].shard)
	for _, node := range nodes {
		one := x.placeOf(node)
		locks.add(one.shard)
		places = append(places, one)
	}
	// Whatever changes a bar takes the keys' lock, whatever changes a state that of its shard. Several
	// shards are taken in the order of their numbers; nobody else takes more than one.
	x.keys.mu.RLock()
	defer x.keys.mu.RUnlock()
	if !x.ready() {
		return notLoaded()
	}
	for number := range locks.all {
		x.shards[number].mu.Lock()
	}
	defer func() {
		for number := range locks.all {
			x.shards[number].mu.Unlock()
		}
	}()
	standings := room.standings[:0]
	for i := range places {
		standings = append(standings, x.stand(&places[i], now))
	}
	room.places, room.standings = places, standings // as far as they have grown
	seconds, err := decide(standings[0], standings[1:])
	if err != nil {
		return err
	}
	if err := checkGrant(seconds, "grant"); err != nil {
		return err
	}
	end := x.second(now.Add(time.Duration(seconds)*time.Second + time.Second - 1))
	for i := range places {
		if i == 0 || standings[i].Grants() {
			x.count(&places[i], end, x.second(now))
		}
	}
	return nil
}

// jointRoom is room for one call of [Index.GrantOn], used again.
type jointRoom struct {
	places    []place
	standings []Standing
}

// place is where a subject's entry is, or would be.
type place struct {
	id     subject.ID
	folded string
	shard  uint8
	hash   uint32
	entry  *entry
}

func (x *Index) placeOf(id subject.ID) place {
	folded := id.Fold()
	_, shard, hash := x.locate(folded)
	return place{id: id, folded: folded, shard: shard, hash: hash}
}

// stand finds the entry and says how it stands. The keys' lock and the shard's are held.
func (x *Index) stand(p *place, now time.Time) Standing {
	s := &x.shards[p.shard]
	number, e := x.seek(s, p.hash, p.folded)
	if e == nil {
		standing := Standing{ID: p.id}
		if held := x.keys.held(p.id.Key()); held != attestd.StateUnknown {
			standing.State, standing.Barred = held, subject.BarSubject
		}
		return standing
	}
	p.entry = e
	return x.standing(e, spelled(s, number, e, p.folded), now)
}

// count counts a grant for the subject, with or without a row. The shard's lock is held.
func (x *Index) count(p *place, end, now uint32) {
	if p.entry != nil {
		p.entry.grants.add(end, now)
		return
	}
	s := &x.shards[p.shard]
	s.strangers.add(p.folded, end, now)
}

// strangers counts grants for ids without a row.
type strangers struct {
	counts map[string]grants
	// sweep is how many there are when those that have ended are looked for.
	sweep int
}

func (s *strangers) add(folded string, end, now uint32) {
	const first = 64
	if s.counts == nil {
		s.counts, s.sweep = map[string]grants{}, first
	}
	counted, there := s.counts[folded]
	if !there {
		if len(s.counts) >= s.sweep {
			for id, one := range s.counts {
				if n, _ := one.inForce(now); n == 0 {
					delete(s.counts, id)
				}
			}
			s.sweep = max(first, 2*len(s.counts))
		}
		folded = strings.Clone(folded)
	}
	counted.add(end, now)
	s.counts[folded] = counted
}

// shardSet is a set of shards.
type shardSet [shards / 64]uint64

func (s *shardSet) add(number uint8) { s[number/64] |= 1 << (number % 64) }

// all yields the numbers, lowest first.
func (s *shardSet) all(yield func(number int) bool) {
	for word, left := range s {
		for left != 0 {
			if !yield(word*64 + bits.TrailingZeros64(left)) {
				return
			}
			left &= left - 1
		}
	}
}
