package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Store is what an authority needs of the registry.
type Store interface {
	Write(ctx context.Context, write subject.Write) error
	Known(ctx context.Context, ask subject.Ask) (subject.Known, error)
	Subject(ctx context.Context, id subject.ID) (subject.Subject, bool, error)
	Subjects(ctx context.Context, filter subject.Filter) ([]subject.Subject, string, error)
	Find(ctx context.Context, tenants []string, prefix string) ([]subject.Subject, error)
}

// Index is what it needs of the index that grants are given by.
type Index interface {
	// Hold lays bars that are not durable yet; Settle ends them after the store has taken them over.
	Hold(bars []subject.Bar)
	Settle(held []subject.Key)
	Outstanding(id subject.ID, now time.Time) (n int, until time.Time)
	Overdue(now time.Time, most int) []subject.ID
	SharedHost(host string) []subject.ID
	CountHost(host string, sees func(tenant string) bool) int
	Since() time.Time
	// Sequence is the number of the last change that is effective.
	Sequence() uint64
}

// Rules are what an installation decides.
type Rules struct {
	subject.Rules
	// Mode says whether attestd quarantines by itself on what evidence and its own signals show.
	Mode subject.Mode
	// Spikes says the same for callers whose risk spikes ([Authority.Spike]). The zero Mode is off.
	Spikes subject.Mode
	// PerHour is how many automatic quarantines an hour there are for one code, source and tenant.
	PerHour int
}

// Config says what an authority works with. Every field is required.
type Config struct {
	Store Store
	Index Index
	// Now is the store's clock.
	Now func() time.Time
	// TrustDomain in which names are.
	TrustDomain string
	// JournalPath is the file of the holds that the store has not taken over yet.
	JournalPath string
	Rules       Rules
	Logger      *slog.Logger
}

// Authority carries orders out. It is safe for concurrent use.
type Authority struct {
	Config
	journal *journal
	caps    caps
	fading  fading
	// kick wakes Run after a direct order.
	kick chan struct{}
	// draining lets one drain at a time.
	draining sync.Mutex
}

// given is the hint for what a configuration lacks.
const given = "every field of the configuration is required"

// New opens the journal and lays the holds in it again: they are effective before New returns, so
// nothing may be granted before that.
//
// Errors: a [*attestd.CallerError] of class CONFIG where something is missing, or where the journal
// cannot be read as it was written: a hold that is lost would be a grant.
func New(config Config) (*Authority, error) {
	switch {
	case config.Store == nil, config.Index == nil, config.Now == nil, config.Logger == nil:
		return nil, wrong(given, "an authority needs a store, an index, a clock and a logger")
	case config.TrustDomain == "" || config.JournalPath == "":
		return nil, wrong(given, "an authority needs a trust domain and a journal")
	case config.Rules.Reattest <= 0 || config.Rules.Grace <= 0 || config.Rules.PerHour <= 0 ||
		config.Rules.Bad <= 0 || config.Rules.Good <= 0:
		return nil, wrong(given, "deadlines, caps and counts must be above zero, got %+v", config.Rules)
	}
	switch config.Rules.Mode {
	case subject.ModeOff, subject.ModeDryRun, subject.ModeOn:
	default:
		return nil, wrong(given, "automation is off, dry-run or on, got %q", config.Rules.Mode)
	}
	switch config.Rules.Spikes {
	case "", subject.ModeOff, subject.ModeDryRun, subject.ModeOn:
	default:
		return nil, wrong(given, "a risk spike's consequence is off, dry-run or on, got %q", config.Rules.Spikes)
	}
	opened, err := openJournal(config.JournalPath)
	if err != nil {
		return nil, err
	}
	authority := &Authority{Config: config, journal: opened, kick: make(chan struct{}, 1)}
	for _, entry := range opened.waiting() {
		config.Index.Hold(entry.Bars)
	}
	return authority, nil
}

// Close closes the journal. Direct orders fail from then on.
func (a *Authority) Close() error { return a.journal.close() }

// Journaled returns how many direct holds the store has not taken over yet.
func (a *Authority) Journaled() int { return len(a.journal.waiting()) }

// Capped returns how many automatic quarantines were not laid because a cap was reached, and when the
// last one was; a zero time for none.
func (a *Authority) Capped() (n int, last time.Time) { return a.caps.refused() }

// attempts bounds how often an order is decided again because what it was decided upon changed. An
// order that holds is reduced to its bars after the first few.
const (
	attempts = 16
	patience = 3
)

// errStarved says that the subject changed at every attempt.
var errStarved = &attestd.UndecidedError{
	Class: attestd.ClassStoreUnavailable, Got: "the subject changed at every attempt",
	Want: "a moment between two changes", Hint: "order it again, or with --direct",
}

// again decides and writes until nothing changed in between.
func (a *Authority) again(
	ctx context.Context, most int, once func() (subject.Write, error),
) (subject.Write, error) {
	for range most {
		write, err := once()
		if err != nil || len(write.Audit) == 0 {
			return write, err
		}
		err = a.Store.Write(ctx, write)
		var moved *subject.MovedError
		if !errors.As(err, &moved) {
			return write, barredError(err)
		}
	}
	return subject.Write{}, errStarved
}

// impose is again for what holds: a machine that gives evidence without end cannot put it off. Where
// the subject changes each time the bars are laid without its row, and evidence cannot change that row
// from then on; then the row follows.
func (a *Authority) impose(ctx context.Context, once func() (subject.Write, error)) (subject.Write, error) {
	write, err := a.again(ctx, patience, once)
	if !errors.Is(err, errStarved) {
		return write, err
	}
	bars := func() (subject.Write, error) {
		write, err := once()
		return subject.Write{Bars: write.Bars, Audit: write.Audit}, err
	}
	if write, err = a.again(ctx, attempts, bars); err != nil {
		return write, err
	}
	whole, err := a.again(ctx, attempts, once)
	if errors.Is(err, errStarved) {
		return write, nil // the bars hold; the row follows with its next evidence
	}
	return whole, err
}

// barredError turns a hold that landed meanwhile into an answer.
func barredError(err error) error {
	var barred *subject.BarredError
	if !errors.As(err, &barred) {
		return err
	}
	return &attestd.CallerError{
		Class: attestd.ClassConflict, Hint: "attestd why shows what holds it", Err: barred,
	}
}

// hostSubjects returns every subject whose latest evidence came from the host, at most most.
func (a *Authority) hostSubjects(ctx context.Context, host string, most int) ([]subject.Subject, error) {
	var all []subject.Subject
	after := ""
	for {
		page, next, err := a.Store.Subjects(ctx, subject.Filter{
			Tenants: []string{subject.Shared}, Host: host, After: after, Limit: min(1000, most),
		})
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if next == "" || len(all) >= most {
			return all, nil
		}
		after = next
	}
}

func wrong(hint, format string, args ...any) error {
	return &attestd.CallerError{Class: attestd.ClassConfig, Hint: hint, Err: fmt.Errorf(format, args...)}
}

func refuse(class attestd.Class, hint, format string, args ...any) error {
	return &attestd.CallerError{Class: class, Hint: hint, Err: fmt.Errorf(format, args...)}
}

func keysOf(bars []subject.Bar) []subject.Key {
	keys := make([]subject.Key, 0, len(bars))
	for _, bar := range bars {
		if !slices.Contains(keys, bar.Key) {
			keys = append(keys, bar.Key)
		}
	}
	return keys
}
