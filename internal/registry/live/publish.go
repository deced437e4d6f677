package live

import (
	"crypto/sha256"
	"encoding/hex"
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
	of := keysOf(one)
	x.keys.mu.Lock()
	defer x.keys.mu.Unlock()
	s.mu.Lock()
	number, e := x.seek(s, hash, folded)
	if e == nil {
		if s.len >= maxRecords {
			s.mu.Unlock()
			return
		}
		number, e = s.add()
		e.hash = hash
		if x.setName(e, one.ID); e.form == formWhole {
			if s.texts == nil {
				s.texts = map[uint32]string{}
			}
			s.texts[number] = strings.Clone(string(one.ID))
		}
		s.grow(s.hashOf)
		s.put(hash, number)
	} else if one.Generation < e.generation {
		s.mu.Unlock()
		return
	}
	// Its bars are there before its state is: what was unknown is not granted anything in between.
	for kind, of := range of {
		held := attestd.StateUnknown
		if of.Value != "" {
			held = x.keys.held(of)
		}
		e.setHeld(kind, held)
	}
	e.named = x.naming(one)
	x.fill(s, e, one)
	s.mu.Unlock()
	x.link(place, number, e, of)
}

func keysOf(one subject.Subject) [kinds]subject.Key {
	return [kinds]subject.Key{
		bySubject:  one.ID.Key(),
		byInstance: {Kind: string(subject.BarInstance), Value: one.Instance.Value},
		byBoot:     {Kind: string(subject.BarBoot), Value: one.Boot},
		byHost:     {Kind: string(subject.BarHost), Value: one.Host},
	}
}

func digestOf(value string) string {
	digest := sha256.Sum256([]byte(value))
	return hex.EncodeToString(digest[:])
}

// naming says how the id names the instance, as [subject.AgentID] makes ids.
func (x *Index) naming(one subject.Subject) uint8 {
	prefix, last := cut(one.ID.Fold())
	named := uint8(namedOtherwise)
	switch one.Instance.Value {
	case "":
		return namedOtherwise
	case last:
		named = namedByValue
	default:
		if len(last) != 64 || last != digestOf(one.Instance.Value) {
			return namedOtherwise
		}
		named = namedByDigest
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
func (x *Index) link(place uint8, number uint32, e *entry, of [kinds]subject.Key) {
	self := refOf(place, number)
	for kind := byInstance; kind < kinds; kind++ {
		var want ref
		var print fingerprint
		if of[kind].Value != "" && (kind != byInstance || e.named == namedOtherwise) {
			print = x.keys.print(of[kind])
			want = x.keys.find(print)
			if want != 0 && want == e.keys[kind-1] {
				continue
			}
		}
		if old := e.keys[kind-1]; old != 0 {
			x.unlink(kind, old, self, e)
		}
		if print == (fingerprint{}) {
			continue
		}
		if want = x.keys.take(print); want == 0 {
			x.full.Store(true)
			continue
		}
		k := x.keys.at(want)
		e.keys[kind-1], e.next[kind-1] = want, k.first
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
	change(k)
	held, first := k.held(), k.first
	x.keys.drop(r)
	x.keys.mu.Unlock()

	switch subject.BarKind(on.Kind) {
	case subject.BarSubject:
		x.holdNamed(on.Value, bySubject, held, namedOtherwise)
	case subject.BarInstance:
		x.holdListed(first, byInstance, held)
		digest := digestOf(on.Value)
		for prefix := range x.agents {
			x.holdNamed(prefix+on.Value, byInstance, held, namedByValue)
			x.holdNamed(prefix+digest, byInstance, held, namedByDigest)
		}
	case subject.BarBoot:
		x.holdListed(first, byBoot, held)
	case subject.BarHost:
		x.holdListed(first, byHost, held)
	}
}

// holdNamed holds the entry with that id, where its name stands for the key.
func (x *Index) holdNamed(folded string, kind int, held attestd.State, named uint8) {
	s, _, hash := x.locate(folded)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, e := x.seek(s, hash, folded); e != nil && (kind == bySubject || e.named == named) {
		e.setHeld(kind, held)
	}
}

func (x *Index) holdListed(first ref, kind int, held attestd.State) {
	for at := first; at != 0; {
		place, number := at.split()
		s := &x.shards[place]
		s.mu.Lock()
		e := s.at(number)
		e.setHeld(kind, held)
		at = e.next[kind-1]
		s.mu.Unlock()
	}
}
