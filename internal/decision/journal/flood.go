package journal

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/subject"
)

// What of alike decisions is written whole. Of a kind in one minute the first wholeOfKind are, then one
// in every oneIn; all kinds together have wholeOfAll, of which the first of each kind is never one. What
// is not written is counted.
const (
	floodMinute = time.Minute
	wholeOfKind = 600
	wholeOfAll  = 120_000
	oneIn       = 100
	// maxKinds are kept apart in one minute; more share a kind for each reason.
	maxKinds = 1 << 16
)

// anybody stands for the callers of kinds that share one.
const anybody = "*"

// kind is what makes decisions alike.
type kind struct {
	enforcer string
	subject  subject.ID
	tenant   string
	reason   decision.Code // empty for what is allowed
}

// tally counts the decisions of a kind in a minute.
type tally struct {
	seen, folded int64
	first, last  time.Time
	id           uuid.UUID
	policy       string
}

// flood says which decisions are written whole, and counts the others. It is safe for concurrent use.
type flood struct {
	mu    sync.Mutex
	begun time.Time
	whole int64
	kinds map[kind]*tally
	due   []Record
	// more are the counts beyond those that are due, one for each reason.
	more map[decision.Code]*Record
}

func newFlood() *flood { return &flood{kinds: map[kind]*tally{}} }

// whole reports whether an answer is to be written whole; where it is not it has been counted. allows is
// one in how many that are allowed is written.
func (f *flood) take(answer *decision.Answer, allows int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	one := f.of(answer)
	one.seen++
	if answer.Allow {
		if allows <= 1 || one.seen%int64(allows) == 1 {
			return true
		}
		one.count(answer)
		return false
	}
	switch {
	case one.seen == 1, one.seen%oneIn == 0, one.seen <= wholeOfKind && f.whole < wholeOfAll:
		f.whole++
		return true
	default:
		one.count(answer)
		return false
	}
}

// fold counts an answer that could not be written.
func (f *flood) fold(answer *decision.Answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of(answer).count(answer)
}

func (f *flood) of(answer *decision.Answer) *tally {
	in := answer.Input
	f.turn(in.At)
	key := kind{
		enforcer: in.Enforcer, subject: in.Who.ID, tenant: in.Standing.Tenant, reason: firstReason(answer),
	}
	one := f.kinds[key]
	if one == nil && len(f.kinds) >= maxKinds {
		key = kind{enforcer: anybody, subject: anybody, reason: key.reason}
		one = f.kinds[key]
	}
	if one == nil {
		one = &tally{}
		f.kinds[key] = one
	}
	return one
}

func (t *tally) count(answer *decision.Answer) {
	if t.folded == 0 {
		t.first = answer.Input.At
	}
	t.folded++
	t.last, t.id, t.policy = answer.Input.At, answer.ID, answer.Policy
}

// turn ends the minute where it is over. A clock that went back ends it as well: it could last for ever
// otherwise.
func (f *flood) turn(now time.Time) {
	if f.begun.IsZero() {
		f.begun = now
	}
	if now.Sub(f.begun) < floodMinute && !now.Before(f.begun.Add(-floodMinute)) {
		return
	}
	f.empty()
	f.begun = now
}

func (f *flood) empty() {
	for key, one := range f.kinds {
		if one.folded == 0 {
			continue
		}
		record := Record{
			Schema: FoldSchema, ID: one.id, At: one.first.UTC(), Last: one.last.UTC(), Count: one.folded,
			Decision: Deny, Reason: key.reason, Subject: key.subject, Tenant: key.tenant,
			Enforcer: key.enforcer, Policy: one.policy, ATLASVersion: ATLASVersion,
			Chain: []decision.Link{}, Datasets: []decision.Dataset{}, ATLAS: []Technique{},
		}
		if key.reason == "" {
			record.Decision = Allow
		} else {
			for _, id := range decision.SpecOf(key.reason).ATLAS {
				record.ATLAS = append(record.ATLAS, Technique{ID: id, State: Suspected})
			}
		}
		f.owe(record)
	}
	clear(f.kinds)
	f.whole = 0
}

// maxDue is how many counts wait while the disk takes none. Beyond, what a count was of is lost and the
// number is not: there is one for each reason then.
const maxDue = 1 << 14

func (f *flood) owe(record Record) {
	if len(f.due) < maxDue {
		f.due = append(f.due, record)
		return
	}
	if f.more == nil {
		f.more = map[decision.Code]*Record{}
	}
	total := f.more[record.Reason]
	if total == nil {
		total = &record
		total.Subject, total.Tenant, total.Enforcer = anybody, "", anybody
		f.more[record.Reason] = total
		return
	}
	total.Count += record.Count
	total.ID, total.Policy, total.Last = record.ID, record.Policy, record.Last
}

// collect returns the counts of minutes that are over, and with all that of this one too.
func (f *flood) collect(now time.Time, all bool) []Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn(now)
	if all {
		f.empty()
	}
	due := f.due
	for _, reason := range slices.Sorted(maps.Keys(f.more)) {
		due = append(due, *f.more[reason])
	}
	f.due, f.more = nil, nil
	return due
}
