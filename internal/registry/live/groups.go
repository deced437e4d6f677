package live

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd/internal/subject"
)

// Bounds of groups.
const (
	// maxGroups are told of changes, each at every change.
	maxGroups = 256
	// groupRests is after how many seconds without a grant or a look a group is retired.
	groupRests = 30
	// maxRetired are counted apart.
	maxRetired = 4
)

// groups are those that are granted on, and what is in force of those that were.
type groups struct {
	// mu is taken after a shard's lock and before a group's.
	mu      sync.RWMutex
	any     atomic.Bool
	live    map[uint64][]*Group // by digest
	n       int
	retired []retired
}

// retired is what is in force of groups that nobody grants on any more. Two can be counted as one: a
// member of either then has the grants of both, which is too many, never too few.
type retired struct {
	marks  []uint64 // in their order
	grants grants
}

// Group returns the group of these subjects, in this order; ids must not be changed any more. It is nil
// where there are too many that are in use.
func (x *Index) Group(ids []subject.ID, now time.Time) *Group {
	digest := x.digest(ids)
	all := &x.groups
	all.mu.RLock()
	found := all.find(digest, ids)
	all.mu.RUnlock()
	if found != nil {
		return found
	}
	made := x.newGroup(ids)
	at := x.second(now)
	made.used = at
	all.mu.Lock()
	defer all.mu.Unlock()
	if found := all.find(digest, ids); found != nil {
		return found
	}
	all.sweep(at, groupRests)
	if all.n >= maxGroups {
		all.sweep(at, 1)
	}
	if all.n >= maxGroups {
		return nil
	}
	if all.live == nil {
		all.live = map[uint64][]*Group{}
	}
	all.live[digest] = append(all.live[digest], made)
	all.n++
	all.any.Store(true)
	return made
}

func (x *Index) digest(ids []subject.ID) uint64 {
	var h maphash.Hash
	h.SetSeed(x.seed)
	for _, id := range ids {
		_, _ = h.WriteString(string(id))
		_ = h.WriteByte(0) // no id has one
	}
	return h.Sum64()
}

func (all *groups) find(digest uint64, ids []subject.ID) *Group {
	for _, g := range all.live[digest] {
		if slices.Equal(g.ids, ids) {
			g.mu.Lock()
			gone := g.gone
			g.mu.Unlock()
			if !gone {
				return g
			}
		}
	}
	return nil
}

// sweep retires groups that have rested for that many seconds. The lock is held.
func (all *groups) sweep(now, rests uint32) {
	all.retired = slices.DeleteFunc(all.retired, func(one retired) bool {
		n, _ := one.grants.inForce(now)
		return n == 0
	})
	for digest, list := range all.live {
		list = slices.DeleteFunc(list, func(g *Group) bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.used > now || now-g.used < rests {
				return false
			}
			g.gone = true
			all.n--
			if n, _ := g.grants.inForce(now); n != 0 {
				all.retire(g, now)
			}
			return true
		})
		if all.live[digest] = list; len(list) == 0 {
			delete(all.live, digest)
		}
	}
}

// retire keeps the grants of a group. Both locks are held.
func (all *groups) retire(g *Group, now uint32) {
	one := retired{marks: make([]uint64, len(g.order)), grants: g.grants}
	for i, number := range g.order {
		one.marks[i] = g.marks[number]
	}
	// A group that follows another mostly has the same members: the sizes that are closest go together.
	all.retired = append(all.retired, one)
	if len(all.retired) <= maxRetired {
		return
	}
	slices.SortFunc(all.retired, func(a, b retired) int { return len(a.marks) - len(b.marks) })
	closest := 1
	for i := range all.retired[1:] {
		gap := func(i int) int { return len(all.retired[i].marks) - len(all.retired[i-1].marks) }
		if gap(i+1) < gap(closest) {
			closest = i + 1
		}
	}
	into, from := &all.retired[closest-1], &all.retired[closest]
	into.marks = union(into.marks, from.marks)
	into.grants.merge(&from.grants, now)
	all.retired = slices.Delete(all.retired, closest, closest+1)
}

// union merges two lists that are in order.
func union(a, b []uint64) []uint64 {
	out := make([]uint64, 0, max(len(a), len(b)))
	for len(a) != 0 && len(b) != 0 {
		switch {
		case a[0] < b[0]:
			out, a = append(out, a[0]), a[1:]
		case a[0] > b[0]:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0]), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// touch tells the groups of an entry's subject how it stands. The lock of its shard is held, and the
// entry is as it will be found.
func (x *Index) touch(place uint8, number uint32, e *entry) {
	if !x.groups.any.Load() {
		return
	}
	s := &x.shards[place]
	var folded string
	x.eachGroup(markOf(place, e.hash), func() string {
		if folded == "" {
			folded = x.name(s, number, e).Fold()
		}
		return folded
	}, func() Standing { return x.standing(e, x.name(s, number, e), never) })
}

func (x *Index) eachGroup(mark uint64, folded func() string, standing func() Standing) {
	x.groups.mu.RLock()
	defer x.groups.mu.RUnlock()
	for _, list := range x.groups.live {
		for _, g := range list {
			g.members(mark, folded, func(member int) bool {
				g.touch(member, standing())
				return true
			})
		}
	}
}

// grouped returns how many grants on groups are in force that the subject has a part in.
func (x *Index) grouped(mark uint64, folded string, now uint32) (n int, last uint32) {
	if !x.groups.any.Load() {
		return 0, 0
	}
	name := func() string { return folded }
	x.groups.mu.RLock()
	defer x.groups.mu.RUnlock()
	for _, list := range x.groups.live {
		for _, g := range list {
			if member, has := g.member(mark, name); has {
				more, end := g.inForce(member, now)
				n, last = n+more, max(last, end)
			}
		}
	}
	for i := range x.groups.retired {
		one := &x.groups.retired[i]
		if _, has := slices.BinarySearch(one.marks, mark); has {
			more, end := one.grants.inForce(now)
			n, last = n+more, max(last, end)
		}
	}
	return n, last
}
