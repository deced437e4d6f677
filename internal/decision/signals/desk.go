package signals

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/subject"
)

// Store is what a desk needs of the registry.
type Store interface {
	Subject(ctx context.Context, id subject.ID) (subject.Subject, bool, error)
	Write(ctx context.Context, write subject.Write) error
}

// Source is whoever gives reports, as it was authenticated.
type Source interface {
	Name() string
	// Speaks reports whether the tenant is the source's.
	Speaks(tenant string) bool
}

// Bounds say how much a source's word weighs. All are required.
type Bounds struct {
	// Cap is the most points that all signals of one source add to one subject, below 40.
	Cap int
	// Fade is after how long half of a signal's points are left.
	Fade time.Duration
	// PerMinute is how many reports a source may give in a minute.
	PerMinute int
}

// StandardBounds returns those that are in force where nobody chose others.
func StandardBounds() Bounds { return Bounds{Cap: 30, Fade: 30 * time.Minute, PerMinute: 600} }

// Config says what a desk works with. Every field is required.
type Config struct {
	Store     Store
	Standings decision.Standings
	// Fades is told of subjects whose points become less by themselves.
	Fades func(subject.Subject)
	// Spike is told of callers whose risk a signal made high. It must not wait.
	Spike func(subject.Grounds)
	// Note keeps what was refused, folded where it is many.
	Note   func(audit.Record)
	Now    func() time.Time
	Bounds Bounds
}

// Desk takes reports. It is safe for concurrent use.
type Desk struct {
	config Config
	given  *lru.Cache[reportKey, kept]

	mu    sync.Mutex
	paces map[string]*pace
}

// reportKey is a report's id within its source.
type reportKey struct{ source, id string }

// kept is a report that was taken.
type kept struct {
	digest  [sha256.Size]byte
	receipt Receipt
	at      time.Time
}

// Limits of what a desk remembers.
const (
	keptReports = 1 << 14
	keptFor     = 24 * time.Hour
	maxSources  = 1 << 12
	// attempts bounds how often a report is decided upon again because its subject changed
	// meanwhile.
	attempts = 16
)

// New returns a desk.
//
// Errors: a [*attestd.CallerError] of class CONFIG.
func New(config Config) (*Desk, error) {
	b := config.Bounds
	switch {
	case config.Store == nil, config.Standings == nil, config.Fades == nil, config.Spike == nil,
		config.Note == nil, config.Now == nil:
		return nil, refuse(attestd.ClassConfig, hintConfig, "a desk lacks one of its parts")
	case b.Cap < 1 || b.Cap >= subject.SourceCap || b.Fade < time.Minute || b.PerMinute < 1:
		return nil, refuse(attestd.ClassConfig, hintConfig,
			"a cap is 1 to %d points, points fade over a minute or more, and a minute has at least one "+
				"report; got %+v", subject.SourceCap-1, b)
	}
	given, err := lru.New[reportKey, kept](keptReports)
	if err != nil {
		return nil, err
	}
	return &Desk{config: config, given: given, paces: map[string]*pace{}}, nil
}

const hintConfig = "every field of the configuration is required"

// Take takes a report up.
//
// Errors: a [*attestd.CallerError] of class MALFORMED, FORBIDDEN (for a subject that is not there
// and for another tenant's, alike), RATE_LIMITED, or CONFLICT for an id that another report had; an
// [*attestd.UndecidedError] where the registry cannot be read or written: nothing counts then.
func (d *Desk) Take(ctx context.Context, source Source, report Report) (Receipt, error) {
	now := d.config.Now()
	if !d.paced(source.Name(), now) {
		return Receipt{}, refuse(attestd.ClassRateLimited, "report less often; alike reports add nothing",
			"more than %d reports a minute", d.config.Bounds.PerMinute)
	}
	one, err := report.check()
	if err != nil {
		return Receipt{}, err
	}
	key := reportKey{source.Name(), one.ID}
	if was, found := d.given.Get(key); found && now.Sub(was.at) < keptFor {
		if was.digest != one.digest {
			return Receipt{}, refuse(attestd.ClassConflict, "give it an id of its own",
				"another report had the id %q", one.ID)
		}
		was.receipt.Repeated = true
		return was.receipt, nil
	}
	receipt, err := d.report(ctx, source, one, now)
	if err == nil {
		d.given.Add(key, kept{one.digest, receipt, now})
	}
	return receipt, err
}

func (d *Desk) report(
	ctx context.Context, source Source, one checked, now time.Time,
) (Receipt, error) {
	before := d.config.Standings.Stands(one.id, now)
	signal := one.signal(source.Name(), now)
	signal.Fade = d.config.Bounds.Fade
	out, err := d.write(ctx, one.id, signal, func(row *subject.Subject) (string, error) {
		tenant, ok := tenantOf(row, before, source)
		if !ok {
			d.config.Note(audit.Record{
				At: now, Actor: source.Name(), Tenant: subject.Shared, Action: "subject.signal",
				Target: string(one.id), Outcome: "refused", Class: string(attestd.ClassForbidden),
			})
			return "", refuse(attestd.ClassForbidden, "a source reports its own tenants' callers",
				"no subject %q", attestd.Excerpt(string(one.id), 120))
		}
		return tenant, nil
	})
	if err != nil {
		return Receipt{}, err
	}
	sequence := d.config.Standings.Sequence()
	after := d.config.Standings.Stands(one.id, now)
	return Receipt{
		Schema: ReceiptSchema, ID: one.ID, Subject: out.Next.ID, Kind: one.kind.Code,
		OWASP: orEmpty(one.kind.OWASP), ATLAS: orEmpty(one.kind.ATLAS),
		Points: out.Points, Capped: out.Capped, RiskBefore: before.Risk, RiskAfter: after.Risk,
		Epoch: out.Next.Epoch, Sequence: sequence, Until: signal.Until,
	}, nil
}

// tenantOf returns whose the subject is, where the source speaks for it. What the registry says and
// what the hardware says now must both be the source's.
func tenantOf(row *subject.Subject, standing decision.Standing, source Source) (string, bool) {
	tenant := standing.Tenant
	if row != nil && row.Tenant != "" {
		if tenant != "" && tenant != row.Tenant && !source.Speaks(tenant) {
			return "", false
		}
		tenant = row.Tenant
	}
	return tenant, tenant != "" && source.Speaks(tenant)
}

// Native takes up what attestd's own detectors saw.
//
// Errors: an [*attestd.UndecidedError] where the registry cannot be read or written.
func (d *Desk) Native(ctx context.Context, seen subject.Sighting) error {
	group, points, lasts, found := subject.Behaviour(seen.Code)
	if !found || seen.ID == "" || seen.Tenant == "" {
		return fmt.Errorf("no sighting of a caller: code %q", attestd.Excerpt(string(seen.Code), 40))
	}
	_, err := d.write(ctx, seen.ID, subject.Signal{
		Code: seen.Code, Group: group, Points: points, Detail: seen.Detail, Source: subject.SourceSelf,
		At: seen.At, Until: seen.At.Add(lasts),
	}, func(*subject.Subject) (string, error) { return seen.Tenant, nil })
	return err
}

// write carries a signal out on the row as it is, and again where it changed meanwhile. tenant says
// whose the subject is, or that nothing is written.
func (d *Desk) write(
	ctx context.Context, id subject.ID, signal subject.Signal,
	tenant func(row *subject.Subject) (string, error),
) (subject.Reported, error) {
	for range attempts {
		s, found, err := d.config.Store.Subject(ctx, id)
		if err != nil {
			return subject.Reported{}, err
		}
		row := &s
		if !found {
			row = nil
		}
		whose, err := tenant(row)
		if err != nil {
			return subject.Reported{}, err
		}
		out := subject.Signalled(row, subject.Report{
			ID: id, Tenant: whose, Signal: signal, Cap: d.config.Bounds.Cap, Via: viaOf(signal.Source),
		})
		if out.Points == 0 {
			return out, nil
		}
		err = d.config.Store.Write(ctx, out.Write)
		var moved *subject.MovedError
		if errors.As(err, &moved) {
			continue
		}
		if err != nil {
			return subject.Reported{}, err
		}
		d.follow(out.Next, signal)
		return out, nil
	}
	return subject.Reported{}, &attestd.UndecidedError{
		Class: attestd.ClassStoreUnavailable, Got: "the subject changed at every attempt",
		Want: "a moment between two changes", Hint: "report it again, with the same id",
	}
}

// viaOf says how a source was known, as its name does; empty for attestd itself.
func viaOf(source string) string {
	switch {
	case source == subject.SourceSelf:
		return ""
	case strings.HasPrefix(source, "token:"):
		return "token"
	case strings.HasPrefix(source, "user:"):
		return "local"
	default:
		return "certificate"
	}
}

// follow sees to what a signal leads to. A machine whose risk is high is suspect by the same write;
// a name without hardware has no such state, so it is the spike that speaks.
func (d *Desk) follow(next subject.Subject, signal subject.Signal) {
	d.config.Fades(next)
	risk, _ := next.RiskAt(signal.At)
	if next.Format == "" && !subject.Barred(next.State) &&
		risk.Tier().Verdict() == attestd.VerdictRejected {
		d.config.Spike(subject.Grounds{
			ID: next.ID, Tenant: next.Tenant, Code: subject.CodeRiskSpike, Source: signal.Source,
			Detail: fmt.Sprintf("its risk became %d: %s", risk.Int(), signal.Code),
		})
	}
}

// pace is a source's reports, by the generic cell rate algorithm: a tenth of a minute's may come at
// once.
type pace struct{ next time.Time }

// paced counts one report of the source.
func (d *Desk) paced(source string, now time.Time) bool {
	every := time.Minute / time.Duration(d.config.Bounds.PerMinute)
	burst := max(every, 6*time.Second)
	d.mu.Lock()
	defer d.mu.Unlock()
	one := d.paces[source]
	if one == nil {
		if len(d.paces) >= maxSources {
			for name, other := range d.paces {
				if !other.next.After(now) {
					delete(d.paces, name)
				}
			}
			if len(d.paces) >= maxSources {
				return false
			}
		}
		one = &pace{}
		d.paces[source] = one
	}
	next := one.next
	if next.Before(now) {
		next = now
	}
	if next.Sub(now) > burst {
		next = now.Add(burst) // the clock was put back
	}
	if next.Sub(now)+every > burst {
		return false
	}
	one.next = next.Add(every)
	return true
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
