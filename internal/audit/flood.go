package audit

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits of a [Flood]. A minute of the worst flood is at most sum of the three records.
const (
	floodWindow = time.Minute
	// floodAtOnce are the records that are written as they come, so that a single event is not late.
	floodAtOnce = 64
	// floodKinds are kept apart by source; what is more counts without its source, and there are few
	// actions and classes.
	floodKinds  = 1024
	floodShared = 256
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
	if f.kinds[key] == nil && f.atOnce < floodAtOnce && len(f.kinds) < floodKinds {
		f.atOnce++
		f.kinds[key] = &Record{} // the next one of its kind is folded
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
	if f.kinds[key] == nil && len(f.kinds) >= floodKinds {
		record.Actor, record.Tenant = elsewhere, "*"
		key = kindOf(record)
	}
	if f.kinds[key] == nil && len(f.kinds) >= floodKinds+floodShared {
		record.Action, record.Class, record.Outcome = "*", "", "*"
		key = kindOf(record)
	}
	if f.kinds[key] == nil {
		f.kinds[key] = &Record{}
	}
	fold(f.kinds[key], record)
}

// fold counts one more. What differs between alike records is that of the first.
func fold(into *Record, record Record) {
	if into.Count == 0 {
		*into = record
		into.Count = 0
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
	f.kinds, f.atOnce, f.begun = map[string]*Record{}, 0, time.Time{}
	return records
}
