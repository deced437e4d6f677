package desk

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/operator"
)

// ErrNone says that there is no such record, or none that the asker may see.
var ErrNone = errors.New("no such record")

// List returns a page of records. The filter's tenants are those of the asker, or one of them.
func (d *Desk) List(ctx context.Context, who operator.Principal, filter nhi.Filter) (wire.Records, error) {
	page := wire.Records{Schema: "attestd.records.v1", Records: []nhi.Record{}}
	list, next, err := d.config.Store.Records(ctx, filter)
	if err != nil {
		return page, err
	}
	page.Next = next
	for _, one := range list {
		if visible(who, one) {
			page.Records = append(page.Records, one)
		}
	}
	return page, nil
}

// visible reports whether somebody may see a record, and change it. A record without a tenant is
// nobody's, and seen by those alone who may act for all.
func visible(who operator.Principal, one nhi.Record) bool {
	return who.Sees(operator.AllTenants) || one.Tenant != "" && who.Sees(one.Tenant)
}

// Find returns one record with how its identity stands.
//
// Errors: [ErrNone] for one that is not there, and for one that is another tenant's.
func (d *Desk) Find(ctx context.Context, who operator.Principal, id string) (wire.Record, error) {
	one, there, err := d.config.Store.FindRecord(ctx, slices.Clone(who.Tenants), id)
	if err != nil {
		return wire.Record{}, err
	}
	if !there || !visible(who, one) {
		return wire.Record{}, ErrNone
	}
	standing := d.standing(one.ID, d.config.Now())
	return wire.Record{
		Schema: "attestd.record.v1", Record: one, Seen: shown(who, standing),
		Findings: hide(who, standing, one.Lint(seenOf(standing), d.known())),
	}, nil
}

func shown(who operator.Principal, standing decision.Standing) wire.Seen {
	out := wire.Seen{
		Known: standing.Fault == "", Attested: standing.Attested, State: standing.State, Risk: standing.Risk,
		Tier: standing.Tier, AttestedAt: standing.AttestedAt,
	}
	if who.Sees(standing.Tenant) {
		out.Tenant = standing.Tenant
	}
	return out
}

// hide leaves out whose the hardware is where that is not the asker's to know. That it is somebody
// else's they learn: their own record denies for it.
func hide(who operator.Principal, standing decision.Standing, found []nhi.Finding) []nhi.Finding {
	if found == nil {
		found = []nhi.Finding{}
	}
	if who.Sees(standing.Tenant) {
		return found
	}
	for i := range found {
		if found[i].Code == nhi.FindingConflict {
			found[i].Detail = "the hardware is another tenant's"
		}
	}
	return found
}

// maxFindings is how many findings one answer lists.
const maxFindings = 1000

// pageSize is how many records are read, or written, at once.
const pageSize = 1000

// Lint looks through the records of the tenants, and at who is attested without one.
func (d *Desk) Lint(
	ctx context.Context, who operator.Principal, tenants []string,
) (wire.InventoryLint, error) {
	out := wire.InventoryLint{
		Schema: "attestd.inventory-lint.v1", At: d.config.Now(), Findings: []nhi.Finding{},
	}
	var tally nhi.Tally
	known, err := d.walk(ctx, who, tenants, &tally, func(found []nhi.Finding) {
		room := maxFindings - len(out.Findings)
		if len(found) > room {
			out.More += len(found) - room
			found = found[:room]
		}
		out.Findings = append(out.Findings, found...)
	})
	counted := tally.Report(out.At)
	out.Records, out.Counts, out.PoliciesKnown = counted.Records, counted.Findings, known
	return out, err
}

// Report counts the records of the tenants.
func (d *Desk) Report(ctx context.Context, who operator.Principal, tenants []string) (nhi.Report, error) {
	var tally nhi.Tally
	known, err := d.walk(ctx, who, tenants, &tally, func([]nhi.Finding) {})
	out := tally.Report(d.config.Now())
	out.PoliciesKnown = known
	return out, err
}

// walk goes through the inventory of tenants, and says whether names of policies could be compared.
func (d *Desk) walk(
	ctx context.Context, who operator.Principal, tenants []string, tally *nhi.Tally,
	tell func([]nhi.Finding),
) (policies bool, err error) {
	w := walk{Desk: d, who: who, tally: tally, tell: tell, known: d.known(), at: d.config.Now()}
	w.all = slices.Contains(tenants, operator.AllTenants)
	filter := nhi.Filter{Tenants: tenants, Limit: pageSize}
	for {
		list, next, err := d.config.Store.Records(ctx, filter)
		if err != nil {
			return false, err
		}
		for i := range list {
			if visible(who, list[i]) {
				w.record(&list[i])
			}
		}
		if next == "" {
			break
		}
		filter.After = next
	}
	return w.known != nil, w.unrecorded(ctx, tenants)
}

type walk struct {
	*Desk
	who   operator.Principal
	all   bool
	tally *nhi.Tally
	tell  func([]nhi.Finding)
	known func(string) bool
	at    time.Time
}

func (w *walk) record(one *nhi.Record) {
	standing := w.standing(one.ID, w.at)
	found := hide(w.who, standing, one.Lint(seenOf(standing), w.known))
	w.tally.Add(one, seenOf(standing), found)
	w.tell(found)
}

// unrecorded looks for who is attested and in no record. Whose it is follows from its hardware;
// what is nobody's is told to those alone who see all.
func (w *walk) unrecorded(ctx context.Context, tenants []string) error {
	var ids []string
	flush := func() error {
		have, err := w.config.Store.RecordsAs(ctx, ids)
		if err != nil {
			return err
		}
		recorded := make(map[string]bool, len(have))
		for _, one := range have {
			recorded[nhi.Fold(one.ID)] = true
		}
		for _, id := range ids {
			if !recorded[nhi.Fold(id)] {
				w.missing(id, tenants)
			}
		}
		ids = ids[:0]
		return nil
	}
	for id, err := range w.config.Attested(ctx) {
		if err != nil {
			return err
		}
		if ids = append(ids, id); len(ids) == pageSize {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

func (w *walk) missing(id string, tenants []string) {
	standing := w.standing(id, w.at)
	theirs := standing.Tenant != "" && slices.Contains(tenants, standing.Tenant)
	if !standing.Attested || !w.all && !theirs {
		return
	}
	found := nhi.Finding{Code: nhi.FindingUnrecorded, ID: id, Tenant: standing.Tenant}
	w.tally.Unrecorded(found)
	w.tell([]nhi.Finding{found})
}
