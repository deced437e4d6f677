package nhi

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// shards is how many parts the book has; a publication locks one of them at a time.
const shards = 256

// Book has all records in memory. What records share, which is everything but ids, times and
// generations, it has once. It is safe for concurrent use.
type Book struct {
	seed   maphash.Seed
	parts  [shards]part
	whole  atomic.Bool
	shapes shapes
}

type part struct {
	mu sync.RWMutex
	of map[string]entry
	_  [32]byte // each lock in a line of its own
}

// entry is a record but its id: what it shares with others, when it was written, and its
// generation.
type entry struct {
	shape      *shape
	updated    int64
	generation uint64
}

// shape is what many records share. One never changes while an entry refers to it.
type shape struct {
	record Record
	key    string
	uses   int
}

// shapes has each shape once. Only publications come here.
type shapes struct {
	mu  sync.Mutex
	all map[string]*shape
	// texts has each tenant, owner and name once; when there are more than sweep, those that no
	// shape has any more are left out.
	texts map[string]string
	sweep int
}

// NewBook returns a book that has not been loaded, and knows nobody.
func NewBook() *Book {
	b := &Book{seed: maphash.MakeSeed()}
	b.shapes = shapes{all: map[string]*shape{}, texts: map[string]string{}, sweep: leastSweep}
	for i := range b.parts {
		b.parts[i].of = map[string]entry{}
	}
	return b
}

// Load takes up everything there is. A book that could not be loaded to its end knows nobody.
func (b *Book) Load(records iter.Seq2[Record, error]) error {
	for one, err := range records {
		if err != nil {
			return err
		}
		b.put(&one)
	}
	b.whole.Store(true)
	return nil
}

// Publish takes up what a commit changed, with the generations that were stored. When it has
// returned no record is read as it was before.
func (b *Book) Publish(changes []RecordWrite) {
	for _, one := range changes {
		if one.Next == nil {
			b.remove(one.ID)
		} else {
			b.put(one.Next)
		}
	}
}

// Record returns the record with exactly that id. It and its lists are not to be written to.
func (b *Book) Record(id string) (*Record, bool) {
	if !b.whole.Load() {
		return nil, false
	}
	p := b.part(id)
	p.mu.RLock()
	found, there := p.of[id]
	p.mu.RUnlock()
	if !there {
		return nil, false
	}
	out := found.shape.record
	out.ID, out.Generation = id, found.generation
	if found.updated != 0 {
		out.Updated = time.Unix(0, found.updated).UTC()
	}
	return &out, true
}

// Len returns how many records there are.
func (b *Book) Len() (n int) {
	for i := range b.parts {
		b.parts[i].mu.RLock()
		n += len(b.parts[i].of)
		b.parts[i].mu.RUnlock()
	}
	return n
}

func (b *Book) part(id string) *part {
	return &b.parts[maphash.String(b.seed, id)%shards]
}

func (b *Book) put(record *Record) {
	next := entry{shape: b.shapes.take(record), generation: record.Generation}
	if !record.Updated.IsZero() {
		next.updated = record.Updated.UnixNano()
	}
	p := b.part(record.ID)
	p.mu.Lock()
	old := p.of[record.ID].shape
	// The key of a map outlives what it came with: it must not keep a whole document alive.
	p.of[strings.Clone(record.ID)] = next
	p.mu.Unlock()
	b.shapes.drop(old)
}

func (b *Book) remove(id string) {
	p := b.part(id)
	p.mu.Lock()
	old := p.of[id].shape
	delete(p.of, id)
	p.mu.Unlock()
	b.shapes.drop(old)
}

// take returns the shape of a record, which it counts as used.
func (s *shapes) take(record *Record) *shape {
	key := keyOf(record)
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.all[key]
	if found == nil {
		found = &shape{record: s.copyOf(record), key: key}
		s.all[key] = found
	}
	found.uses++
	return found
}

func (s *shapes) drop(old *shape) {
	if old == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old.uses--
	if old.uses > 0 {
		return
	}
	delete(s.all, old.key)
	if len(s.texts) > s.sweep {
		s.forget()
	}
}

// leastSweep is how many texts are kept without looking for those that nobody has.
const leastSweep = 1024

func (s *shapes) forget() {
	kept := map[string]string{}
	for _, one := range s.all {
		for _, text := range texts(&one.record) {
			kept[*text] = *text
		}
		for _, list := range [][]string{one.record.Tools, one.record.Datasets} {
			for _, text := range list {
				kept[text] = text
			}
		}
	}
	s.texts, s.sweep = kept, max(leastSweep, 2*len(kept))
}

// copyOf returns what is shared of a record, and nothing that it came with.
func (s *shapes) copyOf(record *Record) Record {
	out := *record
	out.ID, out.Updated, out.Generation = "", time.Time{}, 0
	out.Tools, out.Datasets = slices.Clone(record.Tools), slices.Clone(record.Datasets)
	for _, text := range texts(&out) {
		*text = s.text(*text)
	}
	for _, list := range [][]string{out.Tools, out.Datasets} {
		for i := range list {
			list[i] = s.text(list[i])
		}
	}
	return out
}

func (s *shapes) text(text string) string {
	if text == "" {
		return ""
	}
	known, there := s.texts[text]
	if !there {
		known = strings.Clone(text)
		s.texts[known] = known
	}
	return known
}

// texts are the fields of a record that others share, its lists apart.
func texts(r *Record) []*string {
	return []*string{
		&r.Tenant, &r.Project, &r.Owner, (*string)(&r.Purpose), &r.Stage, &r.Ring, (*string)(&r.Zone),
		&r.Policy, (*string)(&r.Credential), (*string)(&r.Lifecycle), &r.Source,
	}
}

// keyOf returns what tells shapes apart: every text with its length before it, so that no two
// records have one key.
func keyOf(record *Record) string {
	var out []byte
	add := func(text string) {
		out = binary.AppendUvarint(out, uint64(len(text)))
		out = append(out, text...)
	}
	for _, text := range texts(record) {
		add(*text)
	}
	for _, list := range [][]string{record.Tools, record.Datasets} {
		out = binary.AppendUvarint(out, uint64(len(list)))
		for _, text := range list {
			add(text)
		}
	}
	return string(out)
}
