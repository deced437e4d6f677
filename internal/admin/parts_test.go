package admin_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/condition"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
)

// parts is every part behind the API: it keeps subjects and operators in memory, and remembers what it
// was asked.
type parts struct {
	mu        sync.Mutex
	operators map[string]operator.Record
	subjects  []subject.Subject
	bars      []subject.Bar
	events    []subject.Event
	audited   []audit.Record
	asked     []string // what the parts were asked, with the tenants that they were asked for
	broken    error    // returned by everything that carries something out
	auditDown error
	panics    bool
	// during is called by an order to quarantine, where it is set.
	during func(context.Context)
}

func newParts() *parts {
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	one := func(name, tenant, instance, host string) subject.Subject {
		return subject.Subject{
			ID: subject.ID("spiffe://example.org/agent/" + name), Tenant: tenant, Format: attestd.FormatTPM,
			Instance: attestd.Handle{Kind: attestd.HandleInstance, Value: instance}, Host: host, Boot: "b-" + name,
			Ownership: subject.MethodInventory, State: attestd.StateTrusted, Generation: 3, Floor: attestd.Risk(10),
			FirstSeenAt: at, EvidenceAt: at, DueAt: at.Add(time.Hour),
		}
	}
	return &parts{
		operators: map[string]operator.Record{},
		subjects: []subject.Subject{
			one("b1", "blue", "aaaaaa11", "shared-host"), one("b2", "blue", "aaaaaa22", "h2"),
			one("g1", "green", "cccccc11", "shared-host"),
		},
		bars: []subject.Bar{
			{Key: subject.Key{Kind: "host", Value: "shared-host"}, State: attestd.StateQuarantined, Tenant: "*",
				Code: subject.CodeOperator, Text: "green is compromised", Ticket: "GREEN-1", By: "gustav", At: at},
			{Key: subject.Key{Kind: "instance", Value: "aaaaaa11"}, State: attestd.StateQuarantined, Tenant: "blue",
				Code: subject.CodeOperator, Text: "exfil alert", Ticket: "BLUE-1", By: "bertha", At: at},
		},
		events: []subject.Event{
			{Number: 2, ID: "spiffe://example.org/agent/b1", Tenant: "blue", At: at, Kind: "state", Actor: "bertha"},
			{Number: 1, ID: "spiffe://example.org/agent/b1", Tenant: "green", At: at, Kind: "state", Actor: "gustav"},
		},
	}
}

func (p *parts) note(format string, args ...any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, fmt.Sprintf(format, args...))
	if p.panics {
		panic("secret-in-a-panic")
	}
	return p.broken
}

// since returns what was asked since the last call.
func (p *parts) since() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.asked
	p.asked = nil
	return asked
}

// entries returns what was audited since the last call.
func (p *parts) entries() []audit.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	records := p.audited
	p.audited = nil
	return records
}

func (p *parts) Operator(_ context.Context, name string) (operator.Record, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	record, found := p.operators[name]
	return record, found, nil
}

func (p *parts) Operators(context.Context) (list []operator.Record, _ error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, record := range p.operators {
		list = append(list, record)
	}
	slices.SortFunc(list, func(a, b operator.Record) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (p *parts) PutOperator(_ context.Context, change operator.Change) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.operators[change.Next.Name].Generation != change.Expect {
		return operator.ErrMoved
	}
	change.Next.Generation = change.Expect + 1
	p.operators[change.Next.Name] = change.Next
	return nil
}

func (p *parts) order(who operator.Principal, action string, order wire.Order) (wire.Receipt, error) {
	err := p.note("%s %s by %s %v", action, order.Target, who.Name, who.Tenants)
	return wire.Receipt{
		Schema: "attestd.receipt.v1", Action: action, DryRun: order.DryRun,
		Channels: []wire.Channel{{Name: "store", State: "durable", After: 800, Detail: "of tenant green"}},
	}, err
}

func (p *parts) Quarantine(ctx context.Context, who operator.Principal, o wire.Order) (wire.Receipt, error) {
	if p.during != nil {
		p.during(ctx)
	}
	return p.order(who, "quarantine", o)
}

func (p *parts) Release(_ context.Context, who operator.Principal, o wire.Order) (wire.Receipt, error) {
	return p.order(who, "release", o)
}

func (p *parts) Revoke(_ context.Context, who operator.Principal, o wire.Order) (wire.Receipt, error) {
	return p.order(who, "revoke", o)
}

func (p *parts) Import(_ context.Context, who operator.Principal, ask wire.Import) (wire.Imported, error) {
	done := wire.Imported{Schema: "attestd.imported.v1", Entries: []subject.Ownership{{Generation: 146}}}
	if ask.Source == "wrong.csv" {
		done.Problems = []string{"line 2: cannot be enrolled by you"}
	}
	return done, p.note("import %s %d by %s", ask.Tenant, len(ask.Document), who.Name)
}

var decided = wire.Decided{Schema: "attestd.enrolment.v1", Enrolment: subject.Ownership{Generation: 147}}

func (p *parts) Approve(_ context.Context, who operator.Principal, ask wire.Decide) (wire.Decided, error) {
	return decided, p.note("approve %s by %s", ask.Key, who.Name)
}

func (p *parts) Deny(_ context.Context, who operator.Principal, ask wire.Decide) (wire.Decided, error) {
	return decided, p.note("deny %s by %s", ask.Key, who.Name)
}

func (p *parts) Remove(_ context.Context, who operator.Principal, ask wire.Decide) (wire.Decided, error) {
	return decided, p.note("remove %s by %s", ask.Key, who.Name)
}

// List errs on purpose: it answers with all tenants' machines.
func (p *parts) List(_ context.Context, _ operator.Principal, f subject.Filter) (wire.Enrolments, error) {
	err := p.note("list %v %s", f.Tenants, f.Status)
	return wire.Enrolments{Enrolments: []subject.Ownership{
		{Key: subject.Key{Kind: "instance", Value: "n1"}, Tenant: "blue", Status: subject.StatusPending,
			Generation: 145},
		{Key: subject.Key{Kind: "instance", Value: "n2"}, Tenant: "green", Status: subject.StatusPending},
	}[:min(2, f.Limit)]}, err
}

func (p *parts) NewToken(_ context.Context, who operator.Principal, ask wire.TokenRequest) (wire.Token, error) {
	return wire.Token{Schema: "attestd.enrolment-token.v1", Token: canaryToken},
		p.note("token %s by %s", ask.Tenant, who.Name)
}

type reappraisals struct{ *parts }

func (p reappraisals) Find(_ context.Context, who operator.Principal, id string) (wire.Reappraisal, bool, error) {
	return wire.Reappraisal{Schema: "attestd.reappraisal.v1", ID: id}, id == "r1", p.note("reappraisal %v", who.Tenants)
}

func (p *parts) Start(
	_ context.Context, who operator.Principal, ask wire.ReappraisalRequest,
) (wire.Reappraisal, error) {
	return wire.Reappraisal{Schema: "attestd.reappraisal.v1", ID: "r1", State: "running"},
		p.note("reappraise %q by %s", ask.Tenant, who.Name)
}

func (p *parts) Reattest(_ context.Context, id subject.ID) (wire.Reattest, error) {
	return wire.Reattest{State: "done"}, p.note("reattest %s", id)
}

func (p *parts) Find(_ context.Context, tenants []string, prefix string) (found []subject.Subject, err error) {
	err = p.note("find %v", tenants)
	for _, one := range p.subjects {
		seen := slices.Contains(tenants, "*") || slices.Contains(tenants, one.Tenant)
		if seen && (string(one.ID) == prefix || strings.HasPrefix(one.Instance.Value, prefix)) {
			found = append(found, one)
		}
	}
	return found[:min(2, len(found))], err
}

// Subjects errs on purpose: it answers with all tenants' subjects.
func (p *parts) Subjects(_ context.Context, f subject.Filter) ([]subject.Subject, string, error) {
	err := p.note("subjects %v state %v tier %v format %s limit %d overdue %t", f.Tenants, f.State, f.Tier, f.Format,
		f.Limit, !f.Overdue.IsZero())
	return p.subjects, "", err
}

func (p *parts) Known(_ context.Context, ask subject.Ask) (known subject.Known, err error) {
	err = p.note("known")
	for _, bar := range p.bars {
		if slices.Contains(ask.Bars, bar.Key) {
			known.Bars = append(known.Bars, bar)
		}
	}
	return known, err
}

func (p *parts) History(_ context.Context, id subject.ID, _ int64, limit int) (events []subject.Event, err error) {
	err = p.note("history %s", id)
	for _, event := range p.events {
		if event.ID == id && len(events) < limit {
			events = append(events, event)
		}
	}
	return events, err
}

func (p *parts) Check(id subject.ID, _ time.Time) live.Standing {
	for _, one := range p.subjects {
		if one.ID == id {
			return live.Standing{ID: id, Known: true, Tenant: one.Tenant, State: one.State, Tier: attestd.TierLow,
				Risk: one.Floor, Ownership: one.Ownership, Epoch: one.Epoch}
		}
	}
	return live.Standing{ID: id}
}

func (p *parts) Grant(id subject.ID, seconds int, what string, now time.Time) (live.Standing, error) {
	err := p.note("grant %s %d %s", id, seconds, what)
	return p.Check(id, now), err
}

func (p *parts) Counts(tenants []string, _ time.Time) live.Counts {
	_ = p.note("counts %v", tenants)
	return live.Counts{States: map[string]int{"trusted": len(tenants)}}
}

func (p *parts) Why(_ context.Context, who operator.Principal, target string) (wire.Why, error) {
	return wire.Why{Schema: "attestd.why.v1", Target: target}, p.note("why %v", who.Tenants)
}

func (p *parts) Record(_ context.Context, record audit.Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.auditDown != nil {
		return p.auditDown
	}
	p.audited = append(p.audited, record)
	return nil
}

func (p *parts) Note(record audit.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.audited = append(p.audited, record)
}

func (p *parts) Ready() error { p.mu.Lock(); defer p.mu.Unlock(); return p.auditDown }

func (p *parts) Entries(_ context.Context, start int64, limit int) (wire.AuditEntries, error) {
	return wire.AuditEntries{Schema: "attestd.audit-entries.v1", Start: start}, p.note("entries %d %d", start, limit)
}

func (p *parts) Snapshot() []condition.State {
	all := condition.All()
	return []condition.State{
		{Spec: all[0], Severity: condition.Failure, Detail: "3 of tenant green"},
		{Spec: all[1], Severity: condition.OK, Detail: "well"},
	}
}

// Keys has two keys of one purpose.
func (p *parts) Keys(context.Context) wire.Keys {
	_ = p.note("keys")
	return wire.Keys{Schema: "attestd.keys.v1", Keys: []wire.Key{
		{ID: "k1", Purpose: "result", State: "active"}, {ID: "k2", Purpose: "result", State: "next"},
	}}
}

func (p *parts) Rotate(_ context.Context, purpose string) (wire.KeyRotated, error) {
	return wire.KeyRotated{Schema: "attestd.key-rotated.v1"}, p.note("rotate %s", purpose)
}

func (p *parts) Compromise(_ context.Context, ask wire.KeyCompromise) (wire.KeyCompromised, error) {
	return wire.KeyCompromised{Schema: "attestd.key-compromised.v1"}, p.note("compromise %s %s", ask.Purpose, ask.ID)
}
