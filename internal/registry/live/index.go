package live

import (
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Index holds every subject in memory. It is safe for concurrent use; the zero Index refuses
// everything until it is loaded.
type Index struct {
	mu       sync.RWMutex
	since    time.Time
	subjects map[string]*entry
	durable  map[subject.Key]attestd.State
	direct   map[subject.Key]attestd.State
}

type entry struct {
	subject.Subject
	grants []time.Time
}

// New returns an index that refuses everything until it is loaded.
func New() *Index {
	return &Index{
		subjects: map[string]*entry{}, durable: map[subject.Key]attestd.State{},
		direct: map[subject.Key]attestd.State{},
	}
}

// Load takes in what the registry has, as of at by the store's clock, which [Index.Since] returns
// from then on. It is called once, before anything else.
//
// Errors: the first that subjects or bars yield; the index then goes on refusing everything.
func (x *Index) Load(
	at time.Time, subjects iter.Seq2[subject.Subject, error], bars iter.Seq2[subject.Bar, error],
) error {
	for one, err := range bars {
		if err != nil {
			return err
		}
		x.Publish(nil, []subject.BarWrite{{Key: one.Key, Next: &one}})
	}
	for one, err := range subjects {
		if err != nil {
			return err
		}
		x.Publish([]subject.Subject{one}, nil)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.since = at
	return nil
}

// Publish makes what was committed effective; when it has returned no grant is given against it.
// Publications come in the order of their commits. A row that is older than the one here is passed
// over.
func (x *Index) Publish(subjects []subject.Subject, bars []subject.BarWrite) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, bar := range bars {
		delete(x.durable, bar.Key)
		if bar.Next != nil {
			x.durable[bar.Key] = bar.Next.State
		}
	}
	for _, one := range subjects {
		row, there := x.subjects[one.ID.Fold()]
		if !there {
			row = &entry{}
			x.subjects[one.ID.Fold()] = row
		}
		if one.Generation >= row.Generation {
			row.Subject = one
		}
	}
}

// Hold lays bars that are not durable yet, beside those that are. They stay through every Publish
// until [Index.Settle].
func (x *Index) Hold(bars []subject.Bar) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, bar := range bars {
		x.direct[bar.Key] = max(x.direct[bar.Key], bar.State)
	}
}

// Settle ends holds of [Index.Hold], after the registry has taken them over.
func (x *Index) Settle(keys []subject.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, key := range keys {
		delete(x.direct, key)
	}
}

func (x *Index) held(key subject.Key) attestd.State { return max(x.durable[key], x.direct[key]) }

// Held returns the worst state that a bar puts on any of the keys, and the key; StateUnknown for no
// bar. Before the index is loaded it says quarantined: nothing is known to be free.
func (x *Index) Held(keys ...subject.Key) (attestd.State, subject.Key) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.since.IsZero() {
		return attestd.StateQuarantined, subject.Key{}
	}
	var worst attestd.State
	var on subject.Key
	for _, key := range keys {
		if held := x.held(key); held > worst {
			worst, on = held, key
		}
	}
	return worst, on
}

func keysOf(one subject.Subject) []subject.Key {
	keys := []subject.Key{one.ID.Key()}
	for _, key := range []subject.Key{
		{Kind: string(subject.BarInstance), Value: one.Instance.Value},
		{Kind: string(subject.BarBoot), Value: one.Boot},
		{Kind: string(subject.BarHost), Value: one.Host},
	} {
		if key.Value != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

func (x *Index) standing(id subject.ID, now time.Time) (Standing, *entry) {
	row := x.subjects[id.Fold()]
	if x.since.IsZero() || row == nil {
		return Standing{ID: id, State: x.held(id.Key())}, nil
	}
	s := Standing{
		ID: row.ID, Known: true, Tenant: row.Tenant, Format: row.Format, Ownership: row.Ownership,
		State: row.State, Epoch: row.Epoch, Generation: row.Generation, DueAt: row.DueAt,
		EvidenceAt: row.EvidenceAt, Risk: row.Floor, Tier: row.Floor.Tier(),
	}
	if s.State == attestd.StateTrusted && !now.Before(s.DueAt) {
		s.State, s.Overdue = attestd.StateSuspect, true
	}
	for _, key := range keysOf(row.Subject) {
		if held := x.held(key); held > s.State {
			s.State, s.Barred = held, subject.BarKind(key.Kind)
		}
	}
	return s, row
}

// Check says in which state the subject is.
func (x *Index) Check(id subject.ID, now time.Time) Standing {
	x.mu.RLock()
	defer x.mu.RUnlock()
	s, _ := x.standing(id, now)
	return s
}

// Grant checks the subject and counts a grant for it in one step. seconds is how long what is issued
// on it can live, what names that, as in "x509-svid".
//
// Errors: a [*Refused], or before the index is loaded an [*attestd.UndecidedError] of class
// STORE_UNAVAILABLE.
func (x *Index) Grant(
	id subject.ID, seconds int, what string, now time.Time,
) (Standing, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.since.IsZero() {
		return Standing{ID: id}, notLoaded()
	}
	s, row := x.standing(id, now)
	if !s.Grants() {
		return s, s.refusal()
	}
	row.grants = append(row.grants, now.Add(time.Duration(seconds)*time.Second))
	return s, nil
}

func notLoaded() error {
	return &attestd.UndecidedError{
		Check: "registry/index", Class: attestd.ClassStoreUnavailable, Got: "an index that is not loaded",
		Want: "the states of all subjects", Hint: "wait until attestd is ready",
		Err:  errors.New("nothing is granted before"),
	}
}

// Outstanding returns how many grants of the subject are in force at now, and until when the last is.
func (x *Index) Outstanding(id subject.ID, now time.Time) (n int, until time.Time) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if row := x.subjects[id.Fold()]; row != nil {
		for _, end := range row.grants {
			if end.After(now) {
				n++
			}
			if end.After(until) {
				until = end
			}
		}
	}
	return n, until
}

// Overdue returns at most most trusted subjects whose evidence is late at now.
func (x *Index) Overdue(now time.Time, most int) []subject.ID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var ids []subject.ID
	for _, row := range x.subjects {
		if len(ids) < most && row.State == attestd.StateTrusted && !now.Before(row.DueAt) {
			ids = append(ids, row.ID)
		}
	}
	return ids
}

// SharedHost returns the subjects whose latest evidence came from the host.
func (x *Index) SharedHost(host string) []subject.ID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var ids []subject.ID
	for _, row := range x.subjects {
		if host != "" && row.Host == host {
			ids = append(ids, row.ID)
		}
	}
	return ids
}

// Counts counts the subjects of the tenants; "*" alone is every one, no tenant at all is none.
func (x *Index) Counts(tenants []string, now time.Time) Counts {
	x.mu.RLock()
	defer x.mu.RUnlock()
	c := Counts{States: map[string]int{}, Tiers: map[string]int{}, Formats: map[string]int{}}
	for _, row := range x.subjects {
		if !slices.Contains(tenants, "*") && !slices.Contains(tenants, row.Tenant) {
			continue
		}
		s, _ := x.standing(row.ID, now)
		c.Subjects++
		c.States[s.State.String()]++
		c.Tiers[s.Tier.String()]++
		c.Formats[strings.ToLower(string(s.Format))]++
		if s.Overdue {
			c.Overdue++
		}
		if row.State.Grants() && (c.Oldest.IsZero() || row.EvidenceAt.Before(c.Oldest)) {
			c.Oldest = row.EvidenceAt
		}
	}
	return c
}

// Since returns from when on grants are counted; zero before the index is loaded.
func (x *Index) Since() time.Time {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.since
}

// Len returns how many subjects there are.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.subjects)
}
