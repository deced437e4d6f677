package watch

import (
	"time"

	"github.com/attestd/attestd/internal/decision"
)

// filter is a Bloom filter of two hashes: what was put in is found, and something else seldom. A
// caller that asks for hundreds of things has a full one, and nothing is new for it any more: what
// has no shape has no outside.
type filter [4]uint64

func (f *filter) has(hash uint64) bool {
	a, b := uint8(hash), uint8(hash>>8) //nolint:gosec // the low bits are what is wanted
	return f[a>>6]&(1<<(a&63)) != 0 && f[b>>6]&(1<<(b&63)) != 0
}

func (f *filter) put(hash uint64) {
	a, b := uint8(hash), uint8(hash>>8) //nolint:gosec // the low bits are what is wanted
	f[a>>6] |= 1 << (a & 63)
	f[b>>6] |= 1 << (b & 63)
}

const (
	// maxScope is how many ids of one question are looked at; each one more counts as new.
	maxScope = 256
	// namedNovel is how many new ids findings name.
	namedNovel = 3
	// maxNovel is the most new ids within a window that can be told apart well.
	maxNovel = 32
	maxCount = 1 << 15
)

// scoped reports whether resources of a type are part of a caller's scope. Routes are not: each has
// its own address.
func scoped(kind string) bool {
	switch kind {
	case "tool", "dataset", "index", "collection", "feature-store", "resource", "model", "secret":
		return true
	default:
		return false
	}
}

// ids calls each with the hash and the id of everything that is asked for, until maxScope, and
// returns how many there are in all.
func (w *Watch) ids(in *decision.Input, each func(hash uint64, id string)) int {
	n := 0
	if scoped(in.Resource.Type) && in.Resource.ID != "" {
		n++
		each(w.hash(in.Resource.Type, in.Resource.ID), in.Resource.ID)
	}
	for i := range in.Resource.Datasets {
		if n++; n <= maxScope {
			id := in.Resource.Datasets[i].ID
			each(w.hash("dataset", id), id)
		}
	}
	return n
}

// novelty says how much of the question is new for the caller, and whether that is too much by now.
func (w *Watch) novelty(e *entry, in *decision.Input, found *decision.Findings) (fires bool) {
	if int(e.learned) < w.config.Bounds.Learn {
		return false
	}
	now := seconds(in.At)
	if within(e.novelAt, now, w.config.Bounds.NovelWindow) {
		fires = int(e.novel) >= w.config.Bounds.NovelIDs
	} else {
		e.novel, e.tried, e.novelAt = 0, 0, now
	}
	fresh := 0
	all := w.ids(in, func(hash uint64, id string) {
		if e.scope[0].has(hash) || e.scope[1].has(hash) {
			return
		}
		fresh++
		if len(found.NovelIDs) < namedNovel {
			found.NovelIDs = append(found.NovelIDs, id)
		}
		if bit := uint64(1) << (hash >> 58); e.tried&bit == 0 {
			e.tried |= bit
			e.novel = min(e.novel+1, maxCount)
		}
	})
	if all == 0 {
		return false
	}
	fresh += max(0, all-maxScope)
	found.Novel = 100 * fresh / all
	fires = fires || int(e.novel) >= w.config.Bounds.NovelIDs
	return fresh > 0 && fires && !w.steppedUp(e, in)
}

// steppedUp reports whether the caller has given evidence since its scope became too novel: what it
// asks for within the window after that is new, and its own. Else a new release could never ask for
// what it needs, since what is denied is not learnt. The crossing itself was told by then.
func (w *Watch) steppedUp(e *entry, in *decision.Input) bool {
	now, attested := seconds(in.At), seconds(in.Standing.AttestedAt)
	since := e.crossed != 0 && attested > e.crossed
	if since && within(attested, now, w.config.Bounds.NovelWindow) {
		return true
	}
	if e.crossed == 0 || since {
		e.crossed = now
	}
	return false
}

// learn takes what was allowed into the caller's scope. What was denied is not: nobody makes
// something usual by asking for it in vain.
func (w *Watch) learn(e *entry, in *decision.Input) {
	now := seconds(in.At)
	if e.rotated == 0 {
		e.rotated = now
	}
	if !within(e.rotated, now, w.config.Bounds.Memory) {
		e.scope[1], e.scope[0], e.rotated = e.scope[0], filter{}, now
	}
	if w.ids(in, func(hash uint64, _ string) { e.scope[0].put(hash) }) > 0 {
		e.learned = min(e.learned+1, maxCount)
	}
}

// within reports whether a window that began then is still open. A clock that was put back ends it.
func within(began, now uint32, window time.Duration) bool {
	return began != 0 && now >= began && time.Duration(now-began)*time.Second < window
}
