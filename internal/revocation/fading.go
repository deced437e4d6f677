package revocation

import (
	"container/heap"
	"sync"
	"time"

	"github.com/attestd/attestd/internal/subject"
)

// maxFading bounds how many subjects' next changes are remembered. Those beyond it change with the
// hourly look at all subjects.
const maxFading = 1 << 16

// Fades remembers when the signals of the subject next count for less, so that its row is written
// then and decisions see it. A subject whose row is not written meanwhile keeps the points it had:
// late is strict.
func (a *Authority) Fades(s subject.Subject) {
	if next, ever := s.Changes(a.Now()); ever {
		a.fading.add(s.ID, next)
	}
}

// fading are subjects by the time of their next change. The zero fading is ready.
type fading struct {
	mu   sync.Mutex
	when map[string]time.Time
	heap byTime
}

type change struct {
	at time.Time
	id subject.ID
}

type byTime []change

func (b byTime) Len() int           { return len(b) }
func (b byTime) Less(i, j int) bool { return b[i].at.Before(b[j].at) }
func (b byTime) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }
func (b *byTime) Push(one any)      { *b = append(*b, one.(change)) }
func (b *byTime) Pop() any {
	last := (*b)[len(*b)-1]
	*b = (*b)[:len(*b)-1]
	return last
}

func (f *fading) add(id subject.ID, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.when == nil {
		f.when = map[string]time.Time{}
	}
	known, found := f.when[id.Fold()]
	full := !found && len(f.when) >= maxFading || len(f.heap) >= 2*maxFading
	if full || found && !at.Before(known) {
		return // what is due earlier looks again then
	}
	f.when[id.Fold()] = at
	heap.Push(&f.heap, change{at, id})
}

// due takes out at most that many whose time has come.
func (f *fading) due(now time.Time, most int) []subject.ID {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ids []subject.ID
	for len(ids) < most && len(f.heap) > 0 && !f.heap[0].at.After(now) {
		one := heap.Pop(&f.heap).(change)
		if f.when[one.id.Fold()].Equal(one.at) { // else an earlier change took its place
			delete(f.when, one.id.Fold())
			ids = append(ids, one.id)
		}
	}
	return ids
}
