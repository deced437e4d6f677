package revocation

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// Scopes of an order.
const (
	ScopeSubject  = "subject"
	ScopeInstance = "instance"
)

// Bounds of what an order says.
const (
	maxReason = 200
	minPrefix = 6
	// maxChanged is how many subjects one order rewrites. Where more run on a host, its bar holds all of
	// them and the rows of the others follow with their next evidence.
	maxChanged = 500
)

// target is what an order is about, as the registry had it.
type target struct {
	// keys that the order bars or frees.
	keys []subject.Key
	// subjects that run on them, the named one first.
	subjects []subject.Subject
	// bars on any key of the subjects and on keys.
	bars []subject.Bar
	// tenant whose bars they are.
	tenant string
	// named is the subject that was named, nil for none.
	named *subject.Subject
}

// check refuses orders that do not say what they must.
func check(order wire.Order, who operator.Principal) error {
	malformed := func(hint, format string, args ...any) error {
		return refuse(attestd.ClassMalformed, hint, format, args...)
	}
	switch {
	case !slices.Contains(who.Roles, operator.Security) || who.Name == "" || len(who.Tenants) == 0:
		return refuse(attestd.ClassForbidden, "ask an operator who has it", "it needs the role security")
	case strings.TrimSpace(order.Reason) == "":
		return malformed("say why, as in --reason \"exfil alert 4471\"", "an order needs a reason")
	case len(order.Reason) > maxReason, len(order.Ticket) > maxReason, len(order.Reimaged) > maxReason:
		return malformed("keep the rest in the ticket's system", "reason and tickets have at most %d bytes", maxReason)
	case order.Scope != "" && order.Scope != ScopeSubject && order.Scope != ScopeInstance:
		return malformed("want subject or instance", "scope %q", attestd.Excerpt(order.Scope, 40))
	case order.Target == "" || len(order.Target) > 4096:
		return malformed("give a SPIFFE ID, instance:VALUE or host:VALUE", "an order needs a target")
	case (order.Host || strings.HasPrefix(order.Target, "host:")) && !who.Sees(operator.AllTenants):
		return refuse(attestd.ClassForbidden, "ask an operator of all tenants",
			"a host is shared between tenants")
	}
	return nil
}

// missing is the answer for what is not there and for what is another tenant's: the same.
func missing(order wire.Order) error {
	return refuse(attestd.ClassForbidden,
		"attestd subject ls shows what you may see; only an operator of all tenants can hold what was "+
			"never seen", "no subject %q", attestd.Excerpt(order.Target, 120))
}

// find resolves an order's target.
func (a *Authority) find(ctx context.Context, who operator.Principal, order wire.Order) (target, error) {
	switch kind, value, _ := strings.Cut(order.Target, ":"); {
	case strings.HasPrefix(order.Target, "spiffe://"):
		id, err := subject.ParseID(order.Target)
		if err != nil {
			return target{}, err
		}
		return a.findID(ctx, who, order, id)
	case kind == string(subject.BarInstance) && value != "":
		return a.findInstance(ctx, who, order, value)
	case kind == string(subject.BarHost) && value != "":
		return a.findHost(ctx, target{tenant: subject.Shared}, value)
	default:
		return a.findPrefix(ctx, who, order)
	}
}

func (a *Authority) findID(
	ctx context.Context, who operator.Principal, order wire.Order, id subject.ID,
) (target, error) {
	known, err := a.Store.Known(ctx, subject.Ask{ID: id, Bars: []subject.Key{id.Key()}})
	switch {
	case err != nil:
		return target{}, err
	case known.Subject != nil:
		return a.findSubject(ctx, who, order, *known.Subject)
	case !who.Sees(operator.AllTenants):
		return target{}, missing(order)
	case order.Tenant == "" && len(known.Bars) == 0:
		return target{}, refuse(attestd.ClassMalformed,
			"check the spelling: attestd subject ls --text PART; to hold a name before it comes, give --tenant",
			"%q was never seen: nothing was held", attestd.Excerpt(string(id), 120))
	}
	found := target{keys: []subject.Key{id.Key()}, bars: known.Bars, tenant: order.Tenant}
	if found.tenant == "" {
		found.tenant = known.Bars[0].Tenant
	}
	found.unseen(id, a.Now())
	return found, nil
}

// unseen gives a name that is held before it was seen a row, so that lists show it.
func (t *target) unseen(id subject.ID, at time.Time) {
	row := subject.Subject{ID: id, Tenant: t.tenant, Ownership: subject.MethodNone, FirstSeenAt: at}
	t.subjects, t.named = []subject.Subject{row}, &row
}

func (a *Authority) findPrefix(ctx context.Context, who operator.Principal, order wire.Order) (target, error) {
	if len(order.Target) < minPrefix {
		return target{}, refuse(attestd.ClassMalformed,
			"give a SPIFFE ID, at least 6 characters of an instance, instance:VALUE or host:VALUE",
			"%q is too short to name a subject", attestd.Excerpt(order.Target, 20))
	}
	list, err := a.Store.Find(ctx, who.Tenants, order.Target)
	switch {
	case err != nil:
		return target{}, err
	case len(list) == 0:
		return target{}, missing(order)
	case len(list) > 1:
		return target{}, refuse(attestd.ClassConflict, "give more of it",
			"%q is the beginning of several, as %s and %s", attestd.Excerpt(order.Target, 80),
			list[0].ID, list[1].ID)
	}
	return a.findSubject(ctx, who, order, list[0])
}

func (a *Authority) findInstance(
	ctx context.Context, who operator.Principal, order wire.Order, value string,
) (target, error) {
	key := subject.Key{Kind: string(subject.BarInstance), Value: value}
	known, err := a.Store.Known(ctx, subject.Ask{
		Instance: attestd.Handle{Kind: attestd.HandleInstance, Value: value},
		Bars:     []subject.Key{key}, Owners: []subject.Key{key},
	})
	if err != nil {
		return target{}, err
	}
	if known.Subject != nil {
		order.Scope = ScopeInstance
		return a.findSubject(ctx, who, order, *known.Subject)
	}
	found := target{keys: []subject.Key{key}, bars: known.Bars, tenant: subject.Shared}
	for _, owner := range known.Owners {
		if owner.Owns(a.Now()) {
			found.tenant = owner.Tenant
		}
	}
	if len(known.Bars) > 0 && found.tenant == subject.Shared {
		found.tenant = known.Bars[0].Tenant
	}
	if !who.May(operator.Security, found.tenant) {
		return target{}, missing(order)
	}
	return found, nil
}

func (a *Authority) findSubject(
	ctx context.Context, who operator.Principal, order wire.Order, s subject.Subject,
) (target, error) {
	if !who.May(operator.Security, s.Tenant) {
		return target{}, missing(order)
	}
	found := target{subjects: []subject.Subject{s}, tenant: s.Tenant, named: &s}
	if order.Scope != ScopeInstance {
		found.keys = append(found.keys, s.ID.Key())
	}
	if s.Instance.Value != "" {
		found.keys = append(found.keys, subject.Key{
			Kind: string(subject.BarInstance), Value: s.Instance.Value,
		})
	}
	if len(found.keys) == 0 {
		return target{}, refuse(attestd.ClassConflict, "leave out --scope instance",
			"%q has no instance", attestd.Excerpt(string(s.ID), 120))
	}
	if order.Host && s.Host == "" {
		return target{}, refuse(attestd.ClassConflict, "leave out --host",
			"%q names no host", attestd.Excerpt(string(s.ID), 120))
	}
	if order.Host {
		return a.findHost(ctx, found, s.Host)
	}
	return found, a.bars(ctx, &found)
}

func (a *Authority) findHost(ctx context.Context, found target, host string) (target, error) {
	found.keys = append(found.keys, subject.Key{Kind: string(subject.BarHost), Value: host})
	list, err := a.hostSubjects(ctx, host, maxChanged)
	if err != nil {
		return target{}, err
	}
	for _, one := range list {
		if found.named == nil || one.ID.Fold() != found.named.ID.Fold() {
			found.subjects = append(found.subjects, one)
		}
	}
	return found, a.bars(ctx, &found)
}

// bars reads the bars on everything that the target has: at most 64 keys with one question.
func (a *Authority) bars(ctx context.Context, found *target) error {
	keys := slices.Clone(found.keys)
	for _, one := range found.subjects {
		for _, key := range one.Keys() {
			if !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	for part := range slices.Chunk(keys, 64) {
		known, err := a.Store.Known(ctx, subject.Ask{Bars: part})
		if err != nil {
			return err
		}
		found.bars = append(found.bars, known.Bars...)
	}
	return nil
}
