package enrol

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

const (
	actorSelf   = "attestd"
	outcomeDone = "done"
	// leastPrefix is the least of a key's value that stands for the whole.
	leastPrefix = 6
)

// ErrUnknown is the cause of a refusal of a machine that is not there, or not the operator's to see:
// the two look alike.
var ErrUnknown = errors.New("no such machine is enrolled, denied or waiting here")

// Approve enrols one machine: of the queue, or by its whole key one that nobody has seen yet.
//
// Errors, of Deny and Remove too: a [*attestd.CallerError] of class MALFORMED, CONFLICT, or FORBIDDEN,
// which is around [ErrUnknown] where there is nothing to see; what the store says.
func (d *Desk) Approve(ctx context.Context, who operator.Principal, ask wire.Decide) (wire.Decided, error) {
	key, row, err := d.find(ctx, who, ask.Key)
	if err != nil {
		return wire.Decided{}, err
	}
	tenant, err := d.tenantFor(who, ask.Tenant, row)
	if err != nil {
		return wire.Decided{}, err
	}
	now, next := d.now(), row
	switch {
	case row.Generation != 0 && !who.May(operator.Operator, row.Tenant):
		return wire.Decided{}, errTaken(key)
	case !d.mayTake(who, key):
		return wire.Decided{}, errShared(key)
	case !ask.ExpiresAt.IsZero() && !now.Before(ask.ExpiresAt):
		return wire.Decided{}, malformed("give a time to come, or none", "the enrolment would be over already")
	}
	if row.Status != subject.StatusApproved {
		next.Method = subject.MethodEnrolment
	}
	if row.Generation == 0 {
		next.Key, next.CreatedAt, next.Source = key, now, "operator"
	}
	next.Tenant, next.Status, next.By, next.DecidedAt = tenant, subject.StatusApproved, who.Name, now
	next.ExpiresAt = ask.ExpiresAt
	if ask.Label != "" {
		next.Label = ask.Label
	}
	return d.decide(ctx, who, "enroll.approve", ask,
		subject.OwnershipWrite{Key: key, Expect: row.Generation, Next: &next})
}

// Deny refuses one machine until somebody approves or removes it. What many machines share, and what
// nobody has asked for, only those who may act for every tenant deny: a denial wins over every
// ownership, and would be a means against other tenants.
func (d *Desk) Deny(ctx context.Context, who operator.Principal, ask wire.Decide) (wire.Decided, error) {
	key, row, err := d.find(ctx, who, ask.Key)
	if err != nil {
		return wire.Decided{}, err
	}
	owner := row.Tenant
	if row.Generation == 0 || Shared(key.Kind) {
		owner = operator.AllTenants
	}
	if !who.May(operator.Operator, owner) {
		return wire.Decided{}, errUnknown()
	}
	if !ask.ExpiresAt.IsZero() {
		return wire.Decided{}, malformed("leave the expiry out, and remove the denial when it is time",
			"a denial does not end by itself")
	}
	now, next := d.now(), row
	if row.Generation == 0 {
		next.Key, next.CreatedAt, next.Source, next.Tenant = key, now, "operator", owner
	}
	next.Status, next.Method = subject.StatusDenied, subject.MethodNone
	next.By, next.DecidedAt, next.ExpiresAt = who.Name, now, time.Time{}
	if ask.Label != "" {
		next.Label = ask.Label
	}
	return d.decide(ctx, who, "enroll.deny", ask,
		subject.OwnershipWrite{Key: key, Expect: row.Generation, Next: &next})
}

// Remove forgets what is known of one machine's ownership: it is nobody's then, and may ask again.
func (d *Desk) Remove(ctx context.Context, who operator.Principal, ask wire.Decide) (wire.Decided, error) {
	key, row, err := d.find(ctx, who, ask.Key)
	if err != nil {
		return wire.Decided{}, err
	}
	if row.Generation == 0 || !who.May(operator.Operator, row.Tenant) {
		return wire.Decided{}, errUnknown()
	}
	ask.Tenant = row.Tenant
	done, err := d.decide(ctx, who, "enroll.remove", ask,
		subject.OwnershipWrite{Key: key, Expect: row.Generation})
	done.Enrolment = row
	return done, err
}

// decide carries one decision out.
func (d *Desk) decide(
	ctx context.Context, who operator.Principal, action string, ask wire.Decide,
	write subject.OwnershipWrite,
) (wire.Decided, error) {
	for _, text := range []string{ask.Label, ask.Reason} {
		if err := checkLabel(text); err != nil {
			return wire.Decided{}, err
		}
	}
	done := wire.Decided{Schema: "attestd.enrolment.v1", DryRun: ask.DryRun}
	tenant := ask.Tenant
	if write.Next != nil {
		done.Enrolment, tenant = *write.Next, write.Next.Tenant
	}
	if ask.DryRun {
		return done, nil
	}
	record := d.audited(who, tenant, action, write.Key.String())
	record.Reason = ask.Reason
	err := d.carryOut(ctx, who, subject.Write{
		Owners: []subject.OwnershipWrite{write}, Audit: []audit.Record{record},
	})
	if err != nil {
		return wire.Decided{}, err
	}
	d.queue.forgetCount() // a place may be free now
	if write.Next == nil {
		return done, nil
	}
	known, err := d.store.Known(ctx, subject.Ask{Owners: []subject.Key{write.Key}})
	if row, ok := rowOf(known.Owners, write.Key); err == nil && ok {
		done.Enrolment = row // with its generation
	}
	return done, nil
}

// carryOut writes a decision. Where it takes a machine's enrolment back, the machine loses its trust in
// the same transaction; one that attests meanwhile is looked at again.
func (d *Desk) carryOut(ctx context.Context, who operator.Principal, decided subject.Write) error {
	owner := decided.Owners[0]
	back := owner.Next == nil || owner.Next.Status == subject.StatusDenied
	if !back || owner.Key.Kind != KindInstance {
		return d.write(ctx, decided)
	}
	var err error
	for range maxRounds {
		write := decided
		known, asked := d.store.Known(ctx, subject.Ask{
			Instance: attestd.Handle{Kind: attestd.HandleInstance, Value: owner.Key.Value},
		})
		if asked != nil {
			return asked
		}
		if one := known.Subject; one != nil && who.May(operator.Operator, one.Tenant) {
			follows, _ := subject.Disowned(*one, d.now(), who.Name)
			write.Subjects, write.History = follows.Subjects, follows.History
			write.Audit = append(slices.Clone(write.Audit), follows.Audit...)
		}
		if err = d.store.Write(ctx, write); !moved(err) {
			return err
		}
	}
	return conflict(err)
}

// maxRounds is how often a decision is tried against a machine that attests at the same time.
const maxRounds = 4

// List returns a page of what the operator may see. Filter.Tenants narrows that down and never widens
// it; empty, or of every tenant, it is all that the operator may see.
func (d *Desk) List(
	ctx context.Context, who operator.Principal, filter subject.Filter,
) (wire.Enrolments, error) {
	if !reads(who) {
		return wire.Enrolments{}, errUnknown()
	}
	filter.Tenants = slices.DeleteFunc(slices.Clone(filter.Tenants), func(tenant string) bool {
		return !who.Sees(tenant)
	})
	if len(filter.Tenants) == 0 {
		filter.Tenants = slices.Clone(who.Tenants)
	}
	if filter.Limit == 0 {
		filter.Limit = 100
	}
	if filter.Limit < 1 || filter.Limit > pageSize {
		return wire.Enrolments{}, malformed("ask for fewer, and for the next page behind them",
			"limit: got %d, want 1 to %d", filter.Limit, pageSize)
	}
	rows, next, err := d.store.Ownerships(ctx, filter)
	if err != nil {
		return wire.Enrolments{}, err
	}
	if rows == nil {
		rows = []subject.Ownership{}
	}
	return wire.Enrolments{Schema: "attestd.enrolments.v1", Enrolments: rows, Next: next}, nil
}

func reads(who operator.Principal) bool {
	return who.Name != "" && len(who.Tenants) > 0 && slices.ContainsFunc(who.Roles, func(r operator.Role) bool {
		return r == operator.Viewer || r == operator.Operator || r == operator.Security
	})
}

// find returns the key that an operator names, whole or by the beginning of its value, and its row
// where there is one. A beginning finds only what the operator may see.
func (d *Desk) find(
	ctx context.Context, who operator.Principal, text string,
) (subject.Key, subject.Ownership, error) {
	if !reads(who) {
		return subject.Key{}, subject.Ownership{}, errUnknown()
	}
	if key, err := ParseKey(text); err == nil {
		known, err := d.store.Known(ctx, subject.Ask{Owners: []subject.Key{key}})
		if err != nil {
			return subject.Key{}, subject.Ownership{}, err
		}
		row, _ := rowOf(known.Owners, key)
		return key, row, nil
	}
	kind, value := "", strings.TrimSuffix(text, "..") // as lists show what is longer
	if named, rest, _ := strings.Cut(value, ":"); forms[named] != nil {
		kind, value = named, rest
	}
	value = strings.TrimPrefix(value, "ek:")
	if len(value) < leastPrefix || len(value) > maxLabel || checkLabel(value) != nil {
		return subject.Key{}, subject.Ownership{}, malformed("give kind:value as attestd enroll ls shows it",
			"the beginning of a value: got %d characters, want %d to %d of printable text", len(value),
			leastPrefix, maxLabel)
	}
	rows, err := d.beginning(ctx, who, kind, value)
	switch {
	case err != nil:
		return subject.Key{}, subject.Ownership{}, err
	case len(rows) == 0 && kind != "":
		_, err := ParseKey(text) // says which form it wants; the row may be there or not
		return subject.Key{}, subject.Ownership{}, err
	case len(rows) == 0:
		return subject.Key{}, subject.Ownership{}, errUnknown()
	case len(rows) > 1:
		return subject.Key{}, subject.Ownership{}, malformed("give more of it, or kind:value",
			"%q is the beginning of several", attestd.Excerpt(text, 60))
	}
	return rows[0].Key, rows[0], nil
}

// beginning returns the rows of a kind, or of any, whose value begins so: enough to tell one from
// several.
func (d *Desk) beginning(
	ctx context.Context, who operator.Principal, kind, value string,
) (found []subject.Ownership, err error) {
	filter := subject.Filter{Tenants: slices.Clone(who.Tenants), Text: value, Limit: pageSize}
	for {
		rows, next, err := d.store.Ownerships(ctx, filter)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			of := kind == "" || kind == row.Key.Kind
			if of && strings.HasPrefix(strings.TrimPrefix(row.Key.Value, "ek:"), value) {
				found = append(found, row)
			}
		}
		if len(found) > 1 || next == "" {
			return found, nil
		}
		filter.After = next
	}
}

// tenantFor returns whose the machine shall be: as the operator says, else as it stands in the queue,
// else the one tenant that there is to choose from.
func (d *Desk) tenantFor(who operator.Principal, asked string, row subject.Ownership) (string, error) {
	tenant := asked
	if tenant == "" && row.Generation != 0 && row.Tenant != operator.AllTenants {
		tenant = row.Tenant
	}
	if tenant == "" && len(who.Tenants) == 1 && who.Tenants[0] != operator.AllTenants {
		tenant = who.Tenants[0]
	}
	if tenant == "" && len(d.tenants) == 1 {
		tenant = d.tenants[0]
	}
	if tenant == "" {
		return "", malformed("say whose it is: --tenant NAME", "there are several tenants, and none is named")
	}
	return tenant, d.demand(who, tenant)
}

// demand refuses an operator who may not enrol for the tenant, and a tenant that there is not: to who
// may not act for it, the two look alike.
func (d *Desk) demand(who operator.Principal, tenant string) error {
	if d.known(tenant) && who.May(operator.Operator, tenant) {
		return nil
	}
	return &attestd.CallerError{
		Class: attestd.ClassForbidden, Hint: "attestd operator ls shows roles and tenants",
		Err: errors.New("enrolling for this tenant needs the role operator for it"),
	}
}

func (d *Desk) known(tenant string) bool { return slices.Contains(d.tenants, tenant) }

// write carries out a write; one that was decided upon what changed meanwhile is a conflict.
func (d *Desk) write(ctx context.Context, write subject.Write) error {
	err := d.store.Write(ctx, write)
	if moved(err) {
		return conflict(err)
	}
	return err
}

func conflict(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassConflict, Hint: "look again with attestd enroll ls, then decide", Err: err,
	}
}

func moved(err error) bool {
	var changed *subject.MovedError
	return errors.As(err, &changed)
}

func errUnknown() error {
	return &attestd.CallerError{
		Class: attestd.ClassForbidden, Hint: "attestd enroll ls lists what you may see", Err: ErrUnknown,
	}
}

// errTaken is the refusal of a key that is not this operator's to enrol. It says no more.
func errTaken(key subject.Key) error {
	return &attestd.CallerError{
		Class: attestd.ClassForbidden, Hint: "ask an operator who may act for every tenant",
		Err: errors.New(attestd.Excerpt(key.String(), 160) + " cannot be enrolled by you"),
	}
}

// mayTake reports whether an operator may give a key to a tenant. What many machines share can be on
// those of several tenants, and a machine of two tenants is nobody's: one call of one tenant's operator
// would have the whole fleet of another rejected.
func (d *Desk) mayTake(who operator.Principal, key subject.Key) bool {
	return !Shared(key.Kind) || len(d.tenants) == 1 || who.May(operator.Operator, operator.AllTenants)
}

func errShared(key subject.Key) error {
	return &attestd.CallerError{
		Class: attestd.ClassForbidden,
		Hint:  "enrol the machines one by one, or ask an operator who may act for every tenant",
		Err: fmt.Errorf("%s can be on machines of several tenants: only who may act for every tenant "+
			"gives it to one", attestd.Excerpt(key.String(), 160)),
	}
}

// maxLabel bounds what operators write down about a machine, in bytes.
const maxLabel = 200

// checkLabel refuses text that would not stay on its line.
func checkLabel(text string) error {
	if len(text) > maxLabel || attestd.Excerpt(text, maxLabel) != text {
		return malformed("use printable text",
			"a label or reason: want at most %d bytes of printable text", maxLabel)
	}
	return nil
}
