package live

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// maxSeconds is the longest that anything issued on a grant may live.
const maxSeconds = 24 * 60 * 60

// Grant checks the subject and counts a grant for it in one step. seconds is how long what is issued
// on it can live, what names that, as in "x509-svid".
//
// Errors: a [*Refused]; before the index is loaded an [*attestd.UndecidedError] of class
// STORE_UNAVAILABLE; an [*attestd.CallerError] where seconds or what will not do.
func (x *Index) Grant(
	id subject.ID, seconds int, what string, now time.Time,
) (Standing, error) {
	if err := checkGrant(seconds, what); err != nil {
		return Standing{ID: id}, err
	}
	if !x.ready() {
		return Standing{ID: id}, notLoaded()
	}
	folded := id.Fold()
	s, _, hash := x.locate(folded)
	s.mu.Lock()
	number, e := x.seek(s, hash, folded)
	if e == nil {
		s.mu.Unlock()
		stranger := x.stranger(id)
		return stranger, stranger.refusal()
	}
	defer s.mu.Unlock()
	standing := x.standing(e, spelled(s, number, e, folded), now)
	if !standing.Grants() {
		return standing, standing.refusal()
	}
	end := now.Add(time.Duration(seconds) * time.Second)
	e.grants.add(x.second(end.Add(time.Second-1)), x.second(now))
	return standing, nil
}

func checkGrant(seconds int, what string) error {
	if seconds >= 1 && seconds <= maxSeconds && what != "" && len(what) <= 64 {
		return nil
	}
	return &attestd.CallerError{
		Class: attestd.ClassMalformed,
		Hint:  fmt.Sprintf("give 1 to %d seconds, and what is issued, as in x509-svid", maxSeconds),
		Err:   fmt.Errorf("grant of %d seconds for %q", seconds, attestd.Excerpt(what, 80)),
	}
}

func notLoaded() error {
	return &attestd.UndecidedError{
		Check: "registry/index", Class: attestd.ClassStoreUnavailable,
		Got: "an index that is not loaded", Want: "the states of all subjects",
		Hint: "wait until attestd is ready", Err: errors.New("nothing is granted before"),
	}
}

// second returns the whole seconds from when the index was loaded to at.
func (x *Index) second(at time.Time) uint32 {
	seconds := (at.UnixNano() - x.since.Load()) / int64(time.Second)
	return uint32(max(0, min(seconds, math.MaxUint32))) //nolint:gosec // clamped
}

// Outstanding returns how many grants of the subject are in force at now, and until when the last
// one is, to the second above. It may count a grant that has ended, and one on a group that the subject
// had left ([Index.GrantAmong]); it never leaves out one that it has a part in and that has not ended.
func (x *Index) Outstanding(id subject.ID, now time.Time) (n int, until time.Time) {
	folded := id.Fold()
	s, shard, hash := x.locate(folded)
	s.mu.RLock()
	defer s.mu.RUnlock()
	at := x.second(now)
	// What was granted before there was a row goes on beside it.
	counted := s.strangers.counts[folded]
	n, last := counted.inForce(at)
	if _, e := x.seek(s, hash, folded); e != nil {
		more, end := e.grants.inForce(at)
		n, last = n+more, max(last, end)
	}
	more, end := x.grouped(markOf(shard, hash), folded, at)
	n, last = n+more, max(last, end)
	if n != 0 {
		until = x.Since().Add(time.Duration(last) * time.Second)
	}
	if end := x.presumed.Load(); end > now.UnixNano() {
		n, until = n+1, later(until, time.Unix(0, end).UTC())
	}
	return n, until
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Presume has [Index.Outstanding] count one grant more, for whatever id, until then: there may be some
// that this index has not counted. A time that is not after an earlier call's changes nothing.
func (x *Index) Presume(until time.Time) {
	for end := nanoseconds(until); ; {
		before := x.presumed.Load()
		if end <= before || x.presumed.CompareAndSwap(before, end) {
			return
		}
	}
}

// Overdue returns at most most trusted subjects whose evidence is late at now. Successive calls go
// round, so that subjects whose writes fail do not keep the others from their turn.
func (x *Index) Overdue(now time.Time, most int) []subject.ID {
	late := &lateness{limit: now.UnixNano(), most: most}
	resume := x.sweep.Load()
	place, from := uint32(resume>>32), uint32(resume) //nolint:gosec // two halves
	upTo := from
	for turn := range shards + 1 { // the beginning of the first one comes last
		to := uint32(math.MaxUint32)
		if turn == shards {
			to = upTo
		}
		if next, cut := x.overdue(&x.shards[place], from, to, late); cut {
			from = next
			break
		}
		place, from = (place+1)%shards, 0
	}
	x.sweep.Store(uint64(place)<<32 | uint64(from))
	return late.ids
}

// lateness is a list of overdue subjects in the making.
type lateness struct {
	limit int64
	most  int
	ids   []subject.ID
}

// overdue looks through a shard where something in it may be late, and notes the earliest deadline.
// It lists those with numbers from from and below to; where there are too many it says which is next.
func (x *Index) overdue(s *shard, from, to uint32, late *lateness) (next uint32, cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.due > late.limit {
		return 0, false
	}
	earliest := int64(math.MaxInt64)
	for number := range s.len {
		e := s.at(number)
		if attestd.State(e.state) != attestd.StateTrusted {
			continue
		}
		earliest = min(earliest, e.due)
		switch {
		case e.due > late.limit || number < from || number >= to || cut:
		case len(late.ids) >= late.most:
			next, cut = number, true
		default:
			late.ids = append(late.ids, x.name(s, number, e))
		}
	}
	s.due = earliest
	return next, cut
}

// SharedHost returns the subjects whose latest accepted evidence came from the host.
func (x *Index) SharedHost(host string) (ids []subject.ID) {
	x.onHost(host, func(s *shard, number uint32, e *entry) { ids = append(ids, x.name(s, number, e)) })
	return ids
}

// CountHost returns how many of them are of tenants for which sees returns true. It is called under
// locks and must not ask the index.
func (x *Index) CountHost(host string, sees func(tenant string) bool) (n int) {
	x.onHost(host, func(_ *shard, _ uint32, e *entry) {
		if sees(x.tenants.text(e.tenant)) {
			n++
		}
	})
	return n
}

func (x *Index) onHost(host string, each func(s *shard, number uint32, e *entry)) {
	if host == "" {
		return
	}
	x.keys.mu.RLock()
	defer x.keys.mu.RUnlock()
	r := x.keys.find(x.keys.print(subject.Key{Kind: string(subject.BarHost), Value: host}))
	if r == 0 {
		return
	}
	for at := x.keys.at(r).first; at != 0; {
		place, number := at.split()
		s := &x.shards[place]
		s.mu.RLock()
		e := s.at(number)
		each(s, number, e)
		at = e.next[byHost-1]
		s.mu.RUnlock()
	}
}

// Counts counts the subjects of the tenants as they stand at now; "*" is every tenant, none at all is
// no subject. It looks at every subject, a shard at a time.
func (x *Index) Counts(tenants []string, now time.Time) Counts {
	c := Counts{States: map[string]int{}, Tiers: map[string]int{}, Formats: map[string]int{}}
	every := slices.Contains(tenants, "*")
	var states [8]int
	var tiers [8]int
	var formats [math.MaxUint8 + 1]int
	oldest := uint32(math.MaxUint32)
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.RLock()
		for number := range s.len {
			e := s.at(number)
			if !every && !slices.Contains(tenants, x.tenants.text(e.tenant)) {
				continue
			}
			standing := x.standing(e, "", now)
			c.Subjects++
			states[standing.State]++
			tiers[standing.Tier]++
			formats[e.format]++
			if standing.Overdue {
				c.Overdue++
			}
			if standing.State.Grants() && e.seen != 0 {
				oldest = min(oldest, e.seen)
			}
		}
		s.mu.RUnlock()
	}
	for state, n := range states {
		if n != 0 {
			c.States[attestd.State(state).String()] = n //nolint:gosec // below 8
		}
	}
	for tier, n := range tiers {
		if n != 0 {
			c.Tiers[attestd.Tier(tier).String()] = n //nolint:gosec // below 8
		}
	}
	for format, n := range formats {
		if n != 0 {
			c.Formats[x.formats.text(uint32(format))] = n //nolint:gosec // below 256
		}
	}
	if oldest != math.MaxUint32 {
		c.Oldest = time.Unix(int64(oldest), 0).UTC()
	}
	return c
}
