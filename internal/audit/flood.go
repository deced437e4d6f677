package audit

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits of a [Flood]. A minute of the worst flood is at most sum of the four records.
const (
	floodWindow = time.Minute
	// floodAtOnce are the records that are written as they come, so that a single event is not late.
	floodAtOnce = 64
	// floodKinds are kept apart by source; what is more counts without its source, and there are few
	// actions and classes.
	floodKinds  = 1024
	floodShared = 256
	// floodNamed are kept apart for who has a name. They have a room of their own: whoever fills the one
	// of sources, from however many addresses, must not make an operator's calls anybody's.
	floodNamed = 1024
)

// elsewhere is the source of what was folded without one.
const elsewhere = "source:*"

// Flood folds alike records into one with a count, so that whoever is refused a million times cannot
// fill the disk that holds the log. Alike are records of one source, action and class in the same
// minute. It is safe for concurrent use.
type Flood struct {
	mu     sync.Mutex
	begun  time.Time
	atOnce int
	kinds  map[string]*Record
	// named are how many of the kinds are of somebody with a name.
	named int
}

// NewFlood returns an empty one.
func NewFlood() *Flood { return &Flood{kinds: map[string]*Record{}} }

// Note takes a record up and returns what is to be written now: the record itself where it is the first
// of its kind in this minute and there is room, and what the minutes before have left.
func (f *Flood) Note(record Record) []Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	due := f.due(record.At)
	if f.begun.IsZero() {
		f.begun = record.At
	}
	key := kindOf(record)
	if f.kinds[key] == nil && f.atOnce < floodAtOnce && f.room(record) {
		f.atOnce++
		f.add(key, record) // the next one of its kind is folded
		return append(due, record)
	}
	f.count(key, record)
	return due
}

// Fold takes a record up that is counted and not written as it is, for when nothing can be written.
func (f *Flood) Fold(record Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.begun.IsZero() {
		f.begun = record.At
	}
	f.count(kindOf(record), record)
}

func kindOf(record Record) string {
	return strings.Join([]string{
		record.Actor, record.Tenant, record.Action, record.Outcome, record.Class,
	}, "\x00")
}

// count folds a record into its kind; one that has no room any more into that of all sources, and
// where that has none either into the one of everything.
func (f *Flood) count(key string, record Record) {
	if f.kinds[key] == nil && !f.room(record) {
		record.Actor, record.Tenant = elsewhere, "*"
		key = kindOf(record)
	}
	if f.kinds[key] == nil && len(f.kinds)-f.named >= floodKinds+floodShared {
		record.Action, record.Class, record.Outcome = "*", "", "*"
		key = kindOf(record)
	}
	if f.kinds[key] == nil {
		f.add(key, record)
	}
	fold(f.kinds[key], record)
}

// sourced reports whether the record is of a caller without a name.
func sourced(record Record) bool { return strings.HasPrefix(record.Actor, "source:") }

// room reports whether one more kind of the record's sort is kept apart.
func (f *Flood) room(record Record) bool {
	if sourced(record) {
		return len(f.kinds)-f.named < floodKinds
	}
	return f.named < floodNamed
}

func (f *Flood) add(key string, record Record) {
	f.kinds[key] = &Record{}
	if !sourced(record) {
		f.named++
	}
}

// fold counts one more. What differs between alike records is left out: that of the first would say of
// all of them what is true of one.
func fold(into *Record, record Record) {
	if into.Count == 0 {
		*into = record
		into.Count = 0
	}
	for _, text := range [][2]*string{
		{&into.Target, &record.Target}, {&into.Reason, &record.Reason}, {&into.Ticket, &record.Ticket},
		{&into.Via, &record.Via},
	} {
		if *text[0] != *text[1] {
			*text[0] = ""
		}
	}
	if !maps.Equal(into.Detail, record.Detail) {
		into.Detail = nil
	}
	into.Count += max(record.Count, 1)
	for _, at := range []time.Time{record.At, record.Last} {
		if at.After(into.Last) {
			into.Last = at
		}
	}
}

// Due returns what minutes that are over have left. Call it now and then: the end of a flood is written
// even where nothing follows it.
func (f *Flood) Due(now time.Time) []Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.due(now)
}

func (f *Flood) due(now time.Time) []Record {
	// A clock that went back ends the minute as well: it could last for ever otherwise.
	if f.begun.IsZero() || now.Sub(f.begun) < floodWindow && !now.Before(f.begun) {
		return nil
	}
	return f.empty()
}

// Drain returns all that is folded, for the end of the process.
func (f *Flood) Drain() []Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.empty()
}

func (f *Flood) empty() []Record {
	var records []Record
	for _, key := range slices.Sorted(maps.Keys(f.kinds)) {
		if f.kinds[key].Count > 0 {
			records = append(records, *f.kinds[key])
		}
	}
	f.kinds, f.named, f.atOnce, f.begun = map[string]*Record{}, 0, 0, time.Time{}
	return records
}
