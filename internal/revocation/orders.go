package revocation

import (
	"context"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// Actions of orders, as receipts and the audit log name them.
const (
	ActionQuarantine = "quarantine"
	ActionRelease    = "release"
	ActionRevoke     = "revoke"
)

// Quarantine bars a subject until a release.
//
// Errors: a [*attestd.CallerError] of class MALFORMED, FORBIDDEN (also for what is another tenant's,
// as if it were not there) or CONFLICT, and an [*attestd.UndecidedError] where the store cannot be
// written: nothing is acknowledged then.
func (a *Authority) Quarantine(
	ctx context.Context, who operator.Principal, order wire.Order,
) (wire.Receipt, error) {
	return a.lay(ctx, who, order, attestd.StateQuarantined, ActionQuarantine)
}

// Revoke bars a subject for ever.
//
// Errors: as those of [Authority.Quarantine].
func (a *Authority) Revoke(
	ctx context.Context, who operator.Principal, order wire.Order,
) (wire.Receipt, error) {
	return a.lay(ctx, who, order, attestd.StateRevoked, ActionRevoke)
}

func (a *Authority) lay(
	ctx context.Context, who operator.Principal, order wire.Order, state attestd.State, action string,
) (wire.Receipt, error) {
	began := a.Now()
	if err := check(order, who); err != nil {
		return wire.Receipt{}, err
	}
	order, err := spelled(order)
	if err != nil {
		return wire.Receipt{}, err
	}
	if order.Reimaged != "" {
		return wire.Receipt{}, refuse(attestd.ClassMalformed, "leave it out",
			"a ticket of a re-image is for a release alone")
	}
	if order.Direct && !order.DryRun {
		return a.direct(ctx, who, order, state, action)
	}
	act := subject.Act{
		By: who.Name, Code: subject.CodeOperator, Text: order.Reason, Ticket: order.Ticket, At: began,
	}
	var found target
	var planned subject.Write
	write, err := a.impose(ctx, func() (subject.Write, error) {
		var err error
		if found, err = a.find(ctx, who, order); err != nil {
			return subject.Write{}, err
		}
		planned = subject.Lay(state, found.keys, found.tenant, found.subjects, found.bars, act)
		if order.DryRun {
			return subject.Write{}, nil
		}
		write := planned
		write.Audit = []audit.Record{recordOf(who, order, action, found, began)}
		return write, nil
	})
	if err != nil {
		return wire.Receipt{}, err
	}
	if order.DryRun {
		write = planned
	}
	return a.receipt(began, who, order, action, found, write), nil
}

// Release lifts a quarantine. It takes a rebirth of the machine since, or the ticket of a re-image,
// and an operator who laid none of the bars. The subject is suspect then, and trusted when its
// evidence is accepted.
//
// Errors: as those of [Authority.Quarantine].
func (a *Authority) Release(
	ctx context.Context, who operator.Principal, order wire.Order,
) (wire.Receipt, error) {
	began := a.Now()
	if err := check(order, who); err != nil {
		return wire.Receipt{}, err
	}
	order, err := spelled(order)
	if err != nil {
		return wire.Receipt{}, err
	}
	if order.Direct {
		return wire.Receipt{}, refuse(attestd.ClassMalformed, "leave out --direct",
			"only what holds goes round the store")
	}
	// What is only in the journal would come back after the release.
	if err := a.drain(ctx); err != nil {
		return wire.Receipt{}, err
	}
	release := subject.Release{Reimaged: order.Reimaged, Act: subject.Act{
		By: who.Name, Code: subject.CodeOperator, Text: order.Reason, Ticket: order.Ticket, At: began,
	}}
	var found target
	var planned subject.Write
	write, err := a.again(ctx, attempts, func() (subject.Write, error) {
		var err error
		if found, err = a.find(ctx, who, order); err != nil {
			return subject.Write{}, err
		}
		if err = mayLift(who, order, found); err != nil {
			return subject.Write{}, err
		}
		planned, err = subject.Lift(found.keys, found.subjects, found.bars, release)
		if err != nil || order.DryRun {
			return subject.Write{}, err
		}
		if planned.Empty() {
			return subject.Write{}, refuse(attestd.ClassConflict, "release that as well: attestd why shows it",
				"another hold lies on it")
		}
		write := planned
		write.Audit = []audit.Record{recordOf(who, order, ActionRelease, found, began)}
		return write, nil
	})
	if err != nil {
		return wire.Receipt{}, err
	}
	if order.DryRun {
		write = planned
	}
	return a.receipt(began, who, order, ActionRelease, found, write), nil
}

// mayLift refuses where a bar is of a tenant for which the operator has no right.
func mayLift(who operator.Principal, order wire.Order, found target) error {
	for _, bar := range found.bars {
		for _, key := range found.keys {
			if bar.Key == key && !who.May(operator.Security, bar.Tenant) {
				return refuse(attestd.ClassForbidden, "ask an operator of all tenants",
					"%q is held for another tenant or for all", attestd.Excerpt(order.Target, 120))
			}
		}
	}
	return nil
}

func recordOf(
	who operator.Principal, order wire.Order, action string, found target, at time.Time,
) audit.Record {
	detail := map[string]string{}
	for name, value := range map[string]string{
		"target": attestd.Excerpt(order.Target, maxReason), "scope": order.Scope,
		"reimaged": order.Reimaged,
	} {
		if value != "" {
			detail[name] = value
		}
	}
	if order.Host {
		detail["host"] = "yes"
	}
	aim := order.Target
	if found.named != nil {
		aim = string(found.named.ID)
	}
	return audit.Record{
		At: at, Actor: who.Name, Via: who.Via, Tenant: found.tenant, Action: action,
		Target: attestd.Excerpt(aim, 2048), Outcome: "done", Reason: order.Reason, Ticket: order.Ticket,
		Detail: detail,
	}
}

// hostile says what an order cannot do.
const hostile = "a node under hostile root keeps the credentials it has until they expire and can use " +
	"them with peers that ask neither attestd nor a status list"

// receipt says what a write did, or would do.
func (a *Authority) receipt(
	began time.Time, who operator.Principal, order wire.Order, action string, found target,
	write subject.Write,
) wire.Receipt {
	now := a.Now()
	out := wire.Receipt{
		Schema: "attestd.receipt.v1", Action: action, DryRun: order.DryRun, Hostile: hostile,
		Subjects: []wire.Changed{}, Bars: []string{}, Channels: []wire.Channel{},
		GrantsSince: a.Index.Since(),
	}
	for _, bar := range write.Bars {
		out.Bars = append(out.Bars, bar.Key.String())
	}
	for _, one := range write.Subjects {
		changed := wire.Changed{
			ID: one.Next.ID, Tenant: one.Next.Tenant, To: one.Next.State, Epoch: one.Next.Epoch,
		}
		for _, was := range found.subjects {
			if was.ID == one.Next.ID {
				changed.From = was.State
			}
		}
		out.Subjects = append(out.Subjects, changed)
		a.outstanding(&out, one.Next.ID, now)
	}
	if len(write.Subjects) == 0 && found.named != nil {
		a.outstanding(&out, found.named.ID, now)
	}
	a.count(&out, who, found)
	if !order.DryRun {
		out.Sequence = a.Index.Sequence()
		after := now.Sub(began).Microseconds()
		out.Channels = append(out.Channels,
			wire.Channel{Name: "store", State: "durable", After: after, Detail: "with its audit record"},
			wire.Channel{Name: "grants", State: "effective", After: after,
				Detail: grantsDetail(action)})
	}
	if action == ActionQuarantine && !revoked(out.Subjects) {
		out.Undo = "attestd release " + attestd.Excerpt(order.Target, 200) +
			"  (needs a rebirth and another operator)"
	}
	return out
}

// revoked reports whether what was held is held for ever already: nothing takes that back.
func revoked(changed []wire.Changed) bool {
	return len(changed) > 0 && !slices.ContainsFunc(changed, func(one wire.Changed) bool {
		return one.To != attestd.StateRevoked
	})
}

// grantsDetail says what an order means for grants.
func grantsDetail(action string) string {
	if action == ActionRelease {
		return "given again after fresh evidence"
	}
	return "refused from the acknowledgement on"
}

// outstanding adds the grants of a subject that are in force.
func (a *Authority) outstanding(out *wire.Receipt, id subject.ID, now time.Time) {
	n, until := a.Index.Outstanding(id, now)
	out.Grants += n
	if until.After(out.GrantsUntil) {
		out.GrantsUntil = until
	}
}

// count adds what a host bar holds beyond the rows that were rewritten, or else how many subjects on
// the same host stay as they are: those that the operator may know of.
func (a *Authority) count(out *wire.Receipt, who operator.Principal, found target) {
	host := ""
	for _, key := range found.keys {
		if key.Kind == string(subject.BarHost) {
			host = key.Value
		}
	}
	if host == "" && found.named != nil && found.named.Host != "" {
		out.Shared = max(0, a.Index.CountHost(found.named.Host, who.Sees)-1)
		return
	}
	if host == "" || len(found.subjects) < maxChanged {
		return
	}
	now := a.Now()
	all := a.Index.SharedHost(host)
	for _, id := range all {
		listed := false
		for _, one := range found.subjects {
			listed = listed || one.ID.Fold() == id.Fold()
		}
		if listed {
			continue
		}
		a.outstanding(out, id, now)
	}
	if len(all) > len(found.subjects) {
		out.Channels = append(out.Channels, wire.Channel{
			Name: "host", State: "effective", Detail: "holds more subjects than are listed",
		})
	}
}
