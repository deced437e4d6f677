package registrytest

import (
	"context"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/subject"
)

// Store is what the suite asks of a store.
type Store interface {
	Now() time.Time
	Write(ctx context.Context, write subject.Write) error
	Keep(ctx context.Context, verdict registry.Verdict) error
	Known(ctx context.Context, ask subject.Ask) (subject.Known, error)
	Subject(ctx context.Context, id subject.ID) (subject.Subject, bool, error)
	Subjects(ctx context.Context, filter subject.Filter) ([]subject.Subject, string, error)
	Find(ctx context.Context, tenants []string, prefix string) ([]subject.Subject, error)
	CountHost(ctx context.Context, host string) (int, error)
	History(ctx context.Context, id subject.ID, after int64, limit int) ([]subject.Event, error)
	Bars(ctx context.Context, filter subject.Filter) ([]subject.Bar, string, error)
	Ownerships(ctx context.Context, filter subject.Filter) ([]subject.Ownership, string, error)
	Token(ctx context.Context, id string) (subject.Token, bool, error)
	Stored(ctx context.Context, tenants []string, after string, limit int) ([]registry.StoredVerdict, string, error)
	Appraisal(ctx context.Context, id string) ([]byte, bool, error)
	AuditEntries(ctx context.Context, start int64, limit int) ([][]byte, int64, error)
	AuditSize(ctx context.Context) (int64, error)
	operator.Store
	Close() error
}

// Suite runs all that a store must do. open returns an empty store, which the suite closes, that
// publishes to index and goes by clock.
func Suite(t *testing.T, open func(t *testing.T, clock *registry.Clock, index registry.Index) Store) {
	for name, one := range map[string]func(*testing.T, *world){
		"a write is compared with what is there":                  compares,
		"states follow the table alone":                           follows,
		"a hold is a fence":                                       fences,
		"a refused write leaves nothing":                          leavesNothing,
		"holds are laid, seen and lifted":                         holds,
		"ownership is compared and never reused":                  owns,
		"a token enrols once":                                     enrolsOnce,
		"lists show one tenant nothing of another":                isolates,
		"pages follow each other without gap or double":           pages,
		"what callers say is never a pattern":                     takesTextsLiterally,
		"what is no text is refused":                              refusesTexts,
		"a beginning finds one or tells two apart":                finds,
		"history is the newest first":                             remembers,
		"evidence is kept once and dropped with its last subject": keepsEvidence,
		"a verdict is whole":                                      keepsWhole,
		"the log grows with what it records":                      records,
		"operators are compared":                                  operators,
		"the index has what was committed":                        publishes,
		"many writers lose nothing":                               concurrent,
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{T: t, index: &index{}}
			w.clock = registry.NewClock(w.wall, w.elapsed)
			w.Store = open(t, w.clock, w.index)
			t.Cleanup(func() { _ = w.Close() })
			one(t, w)
		})
	}
}
