package enrol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// Store keeps ownerships and tokens.
type Store interface {
	Known(ctx context.Context, ask subject.Ask) (subject.Known, error)
	Ownerships(ctx context.Context, filter subject.Filter) (list []subject.Ownership, next string, err error)
	Token(ctx context.Context, id string) (token subject.Token, found bool, err error)
	Write(ctx context.Context, write subject.Write) error
}

// Limits bound what those who are nobody's yet can make the registry keep.
type Limits struct {
	// PendingPerTenant and PendingPerSource bound the machines that wait for approval.
	PendingPerTenant, PendingPerSource int
	// PendingKeep is how long a machine waits after it was last seen.
	PendingKeep time.Duration
}

// Config is what a Desk is made of; everything is needed but Rules.
type Config struct {
	Store Store
	// Now is the time by the store's clock.
	Now func() time.Time
	// Tenants there are. The first is whose the machines of the operator's endorsement-keys list are.
	Tenants []string
	// Rules, as "TENANT=KIND:VALUE", say whose machines with a key are without a row of the registry;
	// the first that fits counts.
	Rules  []string
	Limits Limits
	// Rand makes tokens.
	Rand io.Reader
}

// Desk is where operators enrol machines and machines ask to be enrolled. It is safe for concurrent
// use.
type Desk struct {
	store   Store
	now     func() time.Time
	tenants []string
	rules   []rule
	limits  Limits
	rand    io.Reader
	queue   queue
}

// rule gives the machines with a key to a tenant.
type rule struct {
	tenant string
	key    subject.Key
}

// New returns a Desk.
//
// Errors: a [*attestd.CallerError] of class CONFIG that says everything that is wrong.
func New(config Config) (*Desk, error) {
	var problems []error
	complain := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if config.Store == nil || config.Now == nil || config.Rand == nil {
		complain("store, clock and randomness are needed")
	}
	if len(config.Tenants) == 0 || slices.Contains(config.Tenants, "") ||
		slices.Contains(config.Tenants, operator.AllTenants) {
		complain("tenants: got %q, want names", config.Tenants)
	}
	if l := config.Limits; l.PendingPerTenant < 1 || l.PendingPerSource < 1 || l.PendingKeep <= 0 {
		complain("limits of the queue: got %+v, want all above zero", l)
	}
	rules := make([]rule, 0, len(config.Rules))
	for _, text := range config.Rules {
		tenant, name, _ := strings.Cut(text, "=")
		key, err := ParseKey(name)
		switch {
		case err != nil:
			complain("enrolment.rules: %w", err)
		case !slices.Contains(config.Tenants, tenant):
			complain("enrolment.rules: %q is none of tenants", attestd.Excerpt(tenant, 40))
		}
		rules = append(rules, rule{tenant: tenant, key: key})
	}
	if len(problems) > 0 {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "docs/howto/enrol.md, docs/config.md (enrolment, tenants)",
			Err: errors.Join(problems...),
		}
	}
	return &Desk{
		store: config.Store, now: config.Now, tenants: slices.Clone(config.Tenants), rules: rules,
		limits: config.Limits, rand: config.Rand,
	}, nil
}

// Machine is what one submission shows of a machine.
type Machine struct {
	Keys   []subject.Key
	Format attestd.Format
	// Listed says that the operator's list of endorsement keys names it.
	Listed bool
	// Tenant that the evidence was judged for, and Source, the address that it came from.
	Tenant, Source string
}

// MachineOf returns the machine of a verdict that was judged for a tenant.
func MachineOf(verdict attestd.Appraisal, tenant, source string) Machine {
	return Machine{
		Keys: Keys(verdict), Format: verdict.Format, Listed: Listed(verdict),
		Tenant: tenant, Source: source,
	}
}

// Instance returns the machine's own key; ok is false where its evidence names no instance, as that of
// a bare SEV-SNP guest.
func (m Machine) Instance() (key subject.Key, ok bool) {
	for _, key := range m.Keys {
		if key.Kind == KindInstance {
			return key, true
		}
	}
	return subject.Key{}, false
}

// Settle says whose the machine is: by the rows of its keys, and where none of them says anything, by
// the rules of the configuration, then by the operator's list of endorsement keys.
func (d *Desk) Settle(machine Machine, owners []subject.Ownership) Settlement {
	at := d.now()
	made := Settle(machine.Keys, owners, machine.Tenant, at)
	if made.Standing != StandingNone && made.Standing != StandingPending {
		return made
	}
	for _, rule := range d.rules {
		if slices.Contains(machine.Keys, rule.key) {
			return made.by(subject.Ownership{
				Key: rule.key, Tenant: rule.tenant, Method: methodOf(rule.key.Kind),
				Status: subject.StatusApproved, Source: "configuration",
			}, machine.Tenant)
		}
	}
	if key, ok := machine.Instance(); ok && machine.Listed {
		return made.by(subject.Ownership{
			Key: key, Tenant: d.tenants[0], Method: subject.MethodInventory,
			Status: subject.StatusApproved, Source: "endorsement-keys",
		}, machine.Tenant)
	}
	return made
}

// by returns the settlement with an owner that stands in no row.
func (s Settlement) by(owner subject.Ownership, tenant string) Settlement {
	s.Standing, s.Owner = StandingOwned, owner
	if owner.Tenant != tenant {
		s.Standing = StandingForeign
	}
	return s
}

// methodOf returns how a machine is known to be ours by a key of that kind.
func methodOf(kind string) subject.Method {
	switch kind {
	case KindAWSInstance, KindAWSRole, KindAWSPCR4, KindGCEProject:
		return subject.MethodCloud
	default:
		return subject.MethodInventory
	}
}

// audited returns the record of what an operator did.
func (d *Desk) audited(who operator.Principal, tenant, action, target string) audit.Record {
	return audit.Record{
		At: d.now(), Actor: who.Name, Via: who.Via, Tenant: tenant, Action: action, Target: target,
		Outcome: "done",
	}
}
