package watch

import (
	"sync"
	"time"
)

const (
	shards = 64
	// chunk is how many entries are allocated at a time; they never move.
	chunk = 64
	// looks is how many entries are looked at for one that can be forgotten.
	looks = 64
	// pivots is how many other tenants are told apart.
	pivots = 4
)

// entry is what is remembered of one caller. Times are seconds of 1970, save tat's nanoseconds.
type entry struct {
	key uint64
	// tat is the limit: the theoretical arrival time of the generic cell rate algorithm (ITU-T
	// I.371, annex A). One number says how much of rate and burst is used, whatever the rate is by
	// now.
	tat     int64
	foreign [pivots]foreign
	// scope is what it was allowed to ask for, in this and the former generation.
	scope   [2]filter
	tried   uint64
	rotated uint32
	novelAt uint32
	// crossed is when its scope became too novel, until it steps up.
	crossed uint32
	novel   uint16
	learned uint16
	denials uint16
	used    bool
	// spiked is when its risk was high last.
	spiked uint32
	denied uint32 // begin of the window of denials
	cool   [detectors]uint32
}

// foreign is another tenant that was asked for, and through whom: zero is an enforcement point that speaks
// for the caller's tenant.
type foreign struct{ tenant, at, by uint32 }

// shard is a part of the table.
type shard struct {
	mu      sync.Mutex
	index   map[uint64]uint32
	entries [][]entry
	len     int
	hand    int
	// debt is the latest tat of a caller that was forgotten: whoever comes new starts with it.
	debt int64
	_    [64]byte // the next shard's lock is on another cache line
}

func (s *shard) at(number uint32) *entry { return &s.entries[number/chunk][number%chunk] }

// take returns the caller's entry and makes it where there is none. The shard's lock is held.
func (w *Watch) take(s *shard, key uint64, now time.Time) *entry {
	if number, found := s.index[key]; found {
		e := s.at(number)
		e.used = true
		return e
	}
	number := uint32(s.len) //nolint:gosec // bounded by most
	switch {
	case s.len >= w.most:
		number = w.forget(s, now)
	case s.len%chunk == 0:
		s.entries = append(s.entries, make([]entry, chunk))
		s.len++
	default:
		s.len++
	}
	e := s.at(number)
	*e = entry{key: key, tat: s.debt, used: true}
	s.index[key] = number
	return e
}

// forget makes room: of those that were not seen for a while, one against whom nothing is counted.
// Where there is none it is whoever comes next, and what it had used up stays used.
func (w *Watch) forget(s *shard, now time.Time) uint32 {
	nanos := now.UnixNano()
	for range looks {
		number := s.step()
		e := s.at(number)
		if e.used {
			e.used = false
			continue
		}
		if e.tat <= nanos && !w.hot(e, seconds(now)) {
			delete(s.index, e.key)
			return number
		}
	}
	number := s.step()
	e := s.at(number)
	s.debt = max(s.debt, e.tat)
	if within(e.spiked, seconds(now), w.config.Bounds.Calm) {
		s.debt = max(s.debt, nanos+int64(w.limits.spent()))
	}
	delete(s.index, e.key)
	return number
}

// hot reports whether anything is counted against the caller now.
func (w *Watch) hot(e *entry, now uint32) bool {
	return within(e.spiked, now, w.config.Bounds.Calm) ||
		within(e.denied, now, w.config.Bounds.BurstWindow)
}

func (s *shard) step() uint32 {
	number := s.hand
	s.hand = (s.hand + 1) % s.len
	return uint32(number) //nolint:gosec // below len
}
