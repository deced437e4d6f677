package live

import (
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// maxAgents is how many prefixes a bar on an instance is looked for under; instances of ids under
// others are found by a key.
const maxAgents = 64

// publish takes up one subject. The publishing lock is held.
func (x *Index) publish(one subject.Subject) {
	folded := one.ID.Fold()
	s, place, hash := x.locate(folded)
	x.keys.mu.Lock()
	defer x.keys.mu.Unlock()
	number, e := x.row(s, hash, folded, one.ID)
	if e == nil || one.Generation < e.generation {
		return
	}
	named := x.naming(one, folded)
	var has [kinds]has
	for kind, key := range keysOf(one, folded) {
		if key.Value == "" {
			continue
		}
		linked := kind != bySubject && (kind != byInstance || named == namedOtherwise)
		if linked || x.keys.barred != 0 {
			has[kind].print = x.keys.print(key)
			has[kind].key = x.keys.find(has[kind].print)
			has[kind].linked = linked
		}
	}
	s.mu.Lock()
	for kind, one := range has {
		held := attestd.StateUnknown
		if one.key != 0 {
			held = x.keys.at(one.key).held()
		}
		e.setHeld(kind, held)
	}
	e.named = named
	x.fill(s, e, one)
	x.holds.see(refOf(place, number), e)
	x.touch(place, number, e)
	s.mu.Unlock()
	x.link(place, number, e, has)
}

// row returns the subject's entry and makes it where there is none: unknown, which grants nothing. It
// returns nil where the shard is full.
func (x *Index) row(s *shard, hash uint32, folded string, id subject.ID) (uint32, *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	number, e := x.seek(s, hash, folded)
	if e != nil || s.len >= maxRecords {
		return number, e
	}
	number, e = s.add()
	e.hash = hash
	if x.setName(e, id, folded); e.form == formWhole {
		if s.texts == nil {
			s.texts = map[uint32]string{}
		}
		s.texts[number] = strings.Clone(string(id))
	}
	s.grow(s.hashOf)
	s.put(hash, number)
	return number, e
}

// has is a key that a subject has: its fingerprint, where it is if it is in use, and whether the
// subject is to be found by it.
type has struct {
	print  fingerprint
	key    ref
	linked bool
}

func keysOf(one subject.Subject, folded string) [kinds]subject.Key {
	return [kinds]subject.Key{
		bySubject:  {Kind: string(subject.BarSubject), Value: folded},
		byInstance: {Kind: string(subject.BarInstance), Value: one.Instance.Value},
		byBoot:     {Kind: string(subject.BarBoot), Value: one.Boot},
		byHost:     {Kind: string(subject.BarHost), Value: one.Host},
	}
}

func digestOf(value string) string {
	digest := sha256.Sum256([]byte(value))
	return hex.EncodeToString(digest[:])
}

// namings yields the last segments that an id can name the instance by, as [subject.AgentID] makes
// ids, each with its number.
func namings(instance string) iter.Seq2[uint8, string] {
	return func(yield func(uint8, string) bool) {
		if instance == "" || !yield(namedByValue, instance) {
			return
		}
		for number, scheme := range subject.Schemes {
			rest, found := strings.CutPrefix(instance, scheme)
			if found && !yield(namedByScheme+uint8(number), rest) { //nolint:gosec // of a few
				return
			}
		}
		yield(namedByDigest, digestOf(instance))
	}
}

// naming says how the id names the instance.
func (x *Index) naming(one subject.Subject, folded string) uint8 {
	prefix, last := cut(folded)
	named := uint8(namedOtherwise)
	for number, segment := range namings(one.Instance.Value) {
		if segment == last {
			named = number
			break
		}
	}
	if named == namedOtherwise {
		return named
	}
	if !x.agents[prefix] {
		if len(x.agents) >= maxAgents {
			return namedOtherwise
		}
		x.agents[strings.Clone(prefix)] = true
	}
	return named
}

// link makes the entry findable by the keys that the subject has now, and no longer by those that it
// had. Only holders of the publishing lock and the keys' lock come here, and readers of these fields
// hold the keys' lock: the shard's is not needed.
func (x *Index) link(place uint8, number uint32, e *entry, all [kinds]has) {
	self := refOf(place, number)
	for kind := byInstance; kind < kinds; kind++ {
		old, want := e.keys[kind-1], all[kind]
		if old != 0 && want.linked && old == want.key {
			continue
		}
		if old != 0 {
			x.unlink(kind, old, self, e)
		}
		if !want.linked {
			continue
		}
		now := x.keys.take(want.print)
		if now == 0 {
			x.full.Store(true)
			continue
		}
		k := x.keys.at(now)
		e.keys[kind-1], e.next[kind-1] = now, k.first
		k.first = self
	}
}

func (x *Index) unlink(kind int, from, self ref, e *entry) {
	k := x.keys.at(from)
	for at := &k.first; *at != 0; {
		if *at == self {
			*at = e.next[kind-1]
			break
		}
		at = &x.entry(*at).next[kind-1]
	}
	e.keys[kind-1], e.next[kind-1] = 0, 0
	x.keys.drop(from)
}

// entry returns the record. Only publications add records, so their lock or the keys' is enough.
func (x *Index) entry(r ref) *entry {
	place, number := r.split()
	return x.shards[place].at(number)
}

// bar changes what a key's bars say and carries it to every subject that has the key. The publishing
// lock is held.
func (x *Index) bar(on subject.Key, change func(*key)) {
	x.keys.mu.Lock()
	r := x.keys.take(x.keys.print(on))
	if r == 0 {
		x.full.Store(true) // no room for a bar: better nobody than one that is barred
		x.keys.mu.Unlock()
		return
	}
	k := x.keys.at(r)
	was := k.held()
	change(k)
	held, first := k.held(), k.first
	if was == attestd.StateUnknown && held != attestd.StateUnknown {
		x.keys.barred++
	} else if was != attestd.StateUnknown && held == attestd.StateUnknown {
		x.keys.barred--
	}
	x.keys.drop(r)
	x.keys.mu.Unlock()

	switch subject.BarKind(on.Kind) {
	case subject.BarSubject:
		x.holds.name(on.Value, held)
		x.holdNamed(on.Value, bySubject, held, namedOtherwise)
	case subject.BarInstance:
		x.holdListed(first, byInstance, held)
		for number, segment := range namings(on.Value) {
			for prefix := range x.agents {
				x.holdNamed(prefix+segment, byInstance, held, number)
			}
		}
	case subject.BarBoot:
		x.holdListed(first, byBoot, held)
	case subject.BarHost:
		x.holdListed(first, byHost, held)
	}
}

// holdNamed holds the entry with that id, where its name stands for the key.
func (x *Index) holdNamed(folded string, kind int, held attestd.State, named uint8) {
	s, place, hash := x.locate(folded)
	s.mu.Lock()
	defer s.mu.Unlock()
	number, e := x.seek(s, hash, folded)
	switch {
	case e != nil && (kind == bySubject || e.named == named):
		e.setHeld(kind, held)
		x.holds.see(refOf(place, number), e)
		x.touch(place, number, e)
	case e == nil && kind == bySubject && x.groups.any.Load():
		one := Standing{ID: subject.ID(folded)}
		if held != attestd.StateUnknown {
			one.State, one.Barred = held, subject.BarSubject
		}
		x.eachGroup(markOf(place, hash), func() string { return folded },
			func() Standing { return one })
	}
}

func (x *Index) holdListed(first ref, kind int, held attestd.State) {
	for at := first; at != 0; {
		place, number := at.split()
		s := &x.shards[place]
		s.mu.Lock()
		e := s.at(number)
		e.setHeld(kind, held)
		x.holds.see(at, e)
		x.touch(place, number, e)
		at = e.next[kind-1]
		s.mu.Unlock()
	}
}
