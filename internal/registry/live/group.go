package live

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/attestd/attestd/internal/subject"
)

// Group is a set of subjects that grants are counted against together: the nodes of an id that runs on
// so many that nobody can look at each of them at every grant. Only [Index.Group] makes one.
//
// Whoever grants on a group looks at all of its members once ([Index.Look]), and from then on at what
// [Index.GrantAmong] says has changed since. Nothing is missed: a change is noted here under the lock of
// the member's shard, before the publication that made it returns.
type Group struct {
	ids    []subject.ID
	folded []string // nil where the ids are in that form
	marks  []uint64
	order  []uint32 // numbers of members by their marks

	// mu is taken after a shard's lock.
	mu sync.Mutex
	// log has the latest changes, the last of which is number seq.
	log []Touch
	seq uint64
	// grants are those on the group. A member that grants nothing any more has in left those that there
	// were then: later ones do not rest on it.
	grants grants
	left   map[uint32]grants
	used   uint32 // second of the last grant or look
	gone   bool   // retired: it takes no grant
}

// Touch is a change of a member: its number in the group, and how it stands. Whether its evidence is
// overdue is not in that.
type Touch struct {
	Member   int
	Standing Standing
}

// Changes of a group that are kept.
const (
	maxLog  = 512
	keptLog = maxLog / 2
)

// Errors of [Index.GrantAmong] and [Index.Look] that say what to do first.
var (
	// ErrLook asks for another look at the group.
	ErrLook = errors.New("live: look at the group again")
	// ErrGone asks for another group.
	ErrGone = errors.New("live: the group is gone")
)

// never is a moment at which nothing that has a deadline is overdue.
var never = time.Unix(0, 0)

func markOf(shard uint8, hash uint32) uint64 { return uint64(shard)<<32 | uint64(hash) }

func (x *Index) newGroup(ids []subject.ID) *Group {
	g := &Group{
		ids: ids, marks: make([]uint64, len(ids)), order: make([]uint32, len(ids)),
		left: map[uint32]grants{},
	}
	for i, id := range ids {
		folded := id.Fold()
		if folded != string(id) && g.folded == nil {
			g.folded = make([]string, len(ids))
			for j := range i {
				g.folded[j] = string(ids[j])
			}
		}
		if g.folded != nil {
			g.folded[i] = folded
		}
		_, shard, hash := x.locate(folded)
		g.marks[i], g.order[i] = markOf(shard, hash), uint32(i) //nolint:gosec // as many as agents
	}
	slices.SortFunc(g.order, func(a, b uint32) int { return cmp.Compare(g.marks[a], g.marks[b]) })
	return g
}

func (g *Group) fold(member int) string {
	if g.folded != nil {
		return g.folded[member]
	}
	return string(g.ids[member])
}

// members yields the numbers under which the subject is a member, by its mark and its folded id. Ids that
// differ in case alone are one subject.
func (g *Group) members(mark uint64, folded func() string, yield func(member int) bool) {
	at, _ := slices.BinarySearchFunc(g.order, mark, func(number uint32, mark uint64) int {
		return cmp.Compare(g.marks[number], mark)
	})
	for ; at < len(g.order) && g.marks[g.order[at]] == mark; at++ {
		number := int(g.order[at])
		if g.fold(number) == folded() && !yield(number) {
			return
		}
	}
}

// member returns the first of them.
func (g *Group) member(mark uint64, folded func() string) (number int, has bool) {
	g.members(mark, folded, func(member int) bool {
		number, has = member, true
		return false
	})
	return number, has
}

func (g *Group) place(member int) place {
	mark := g.marks[member]
	return place{
		id: g.ids[member], folded: g.fold(member),
		shard: uint8(mark >> 32), hash: uint32(mark), //nolint:gosec // its halves
	}
}

// touch notes how a member stands. The lock of its shard is held.
func (g *Group) touch(member int, standing Standing) {
	g.mu.Lock()
	defer g.mu.Unlock()
	number := uint32(member) //nolint:gosec // as many as agents
	if _, left := g.left[number]; standing.Grants() {
		delete(g.left, number)
	} else if !left {
		g.left[number] = g.grants
	}
	g.seq++
	if len(g.log) == maxLog {
		copy(g.log, g.log[maxLog-keptLog:])
		clear(g.log[keptLog:])
		g.log = g.log[:keptLog]
	}
	g.log = append(g.log, Touch{member, standing})
}

// since returns the changes after that number, false where they are not kept. The lock is held.
func (g *Group) since(seq uint64) ([]Touch, bool) {
	missed := g.seq - seq
	if missed > uint64(len(g.log)) {
		return nil, false
	}
	return g.log[len(g.log)-int(missed):], true //nolint:gosec // at most maxLog
}

// Look says how each member stands, by its number, and the number of the change that all of them are
// at least as new as. It holds no lock while each runs, and none for longer than one member takes.
//
// Errors: [ErrGone]; before the index is loaded an [*attestd.UndecidedError].
func (x *Index) Look(g *Group, now time.Time, each func(member int, standing Standing)) (
	seq uint64, err error,
) {
	if !x.ready() {
		return 0, notLoaded()
	}
	g.mu.Lock()
	seq, g.used = g.seq, x.second(now)
	gone := g.gone
	g.mu.Unlock()
	if gone {
		return 0, ErrGone
	}
	for member := range g.ids {
		each(member, x.look(g, member, now))
	}
	return seq, nil
}

func (x *Index) look(g *Group, member int, now time.Time) Standing {
	p := g.place(member)
	s := &x.shards[p.shard]
	s.mu.RLock()
	number, e := x.seek(s, p.hash, p.folded)
	var standing Standing
	if e != nil {
		standing = x.standing(e, spelled(s, number, e, p.folded), now)
	}
	if !standing.Grants() {
		g.leave(member)
	}
	s.mu.RUnlock()
	if e == nil {
		return x.stranger(p.id)
	}
	return standing
}

// leave notes that nothing is granted to a member from now on. The lock of its shard is held.
func (g *Group) leave(member int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	number := uint32(member) //nolint:gosec // as many as agents
	if _, left := g.left[number]; !left {
		g.left[number] = g.grants
	}
}

// DecideAmong says whether a grant may be given to own, which runs on a group's members. one is the
// member that was named, and zero where it has left the group's grants. changed is what has changed since, up to
// seq. Otherwise it is as [Decide]; changed is used again after it has returned.
type DecideAmong func(own, one Standing, changed []Touch, seq uint64) (seconds int, err error)

// GrantAmong reads the states of an id and of one member of the group, lets decide say what follows, and
// counts a grant for the id and for the group, all in one step, as [Index.GrantOn] does. It takes as
// long for any number of members. Since is the number of the last change that whoever asks knows of; a
// member of less than 0 is none.
//
// Errors: those of GrantOn; [ErrGone]; [ErrLook] where too much has changed since.
func (x *Index) GrantAmong(
	id subject.ID, g *Group, member int, since func() uint64, now time.Time, decide DecideAmong,
) error {
	own := x.placeOf(id)
	var locks shardSet
	locks.add(own.shard)
	var other place
	if member >= 0 {
		other = g.place(member)
		locks.add(other.shard)
	}
	x.keys.mu.RLock() // as in GrantOn
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
	standing := x.stand(&own, now)
	var one Standing
	if member >= 0 {
		one = x.stand(&other, now)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return ErrGone
	}
	if _, left := g.left[uint32(max(member, 0))]; left { //nolint:gosec // as above
		one = Standing{} // somebody saw it overdue, by a clock that was ahead
	}
	changed, kept := g.since(since())
	if !kept {
		return ErrLook
	}
	seconds, err := decide(standing, one, changed, g.seq)
	if err != nil {
		return err
	}
	if err := checkGrant(seconds, "grant"); err != nil {
		return err
	}
	end, at := x.second(now.Add(time.Duration(seconds)*time.Second+time.Second-1)), x.second(now)
	x.count(&own, end, at)
	g.grants.add(end, at)
	g.used = at
	return nil
}

// inForce returns how many grants of a member are in force.
func (g *Group) inForce(member int, now uint32) (n int, last uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	counted, left := g.left[uint32(member)] //nolint:gosec // as many as agents
	if !left {
		counted = g.grants
	}
	return counted.inForce(now)
}

// Has reports whether the id is a member's.
func (x *Index) Has(g *Group, id subject.ID) bool {
	folded := id.Fold()
	_, shard, hash := x.locate(folded)
	_, has := g.member(markOf(shard, hash), func() string { return folded })
	return has
}
