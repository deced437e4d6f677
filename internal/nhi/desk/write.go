package desk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

const (
	changedSchema = "attestd.records-changed.v1"
	// MaxRecords is the most records of one import: one write, whole or not at all.
	MaxRecords = 1000
	// maxShown is how many changes an answer lists, maxProblems how many problems.
	maxShown, maxProblems = 100, 50
	// rounds is how often a write is decided anew where records changed beneath it.
	rounds = 4
)

// notYours is the one answer about identities of other tenants, whatever makes them theirs.
const notYours = "its record is not yours to write"

// Import takes records up: all of them, or none where anything is wrong with one.
//
// Errors: a [*attestd.CallerError] of class MALFORMED or CONFLICT; what the store says. Problems of
// records are no error.
func (d *Desk) Import(
	ctx context.Context, who operator.Principal, ask wire.RecordsImport,
) (wire.RecordsChanged, error) {
	switch {
	case len(ask.Records) == 0:
		return wire.RecordsChanged{}, malformed("give at least one", "an import without records")
	case len(ask.Records) > MaxRecords:
		return wire.RecordsChanged{}, malformed("send them in parts", "got %d records, want at most %d",
			len(ask.Records), MaxRecords)
	case ask.Source == "":
		return wire.RecordsChanged{}, malformed("give the name of the file", "the records have no source")
	}
	if ask.Tenant == "" && len(who.Tenants) == 1 && who.Tenants[0] != operator.AllTenants {
		ask.Tenant = who.Tenants[0]
	}
	document, err := json.Marshal(ask.Records)
	if err != nil {
		return wire.RecordsChanged{}, err
	}
	digest := sha256.Sum256(document)
	work := &importing{Desk: d, who: who, ask: ask, at: d.config.Now().UTC()}
	return work.change(ctx, ask.DryRun, work.plan, audit.Record{
		Action: "subject.import", Target: attestd.Excerpt(ask.Source, 60),
		Detail: map[string]string{"sha256": hex.EncodeToString(digest[:])},
	})
}

// Retire says that a record's identity is in use no longer: decisions deny it from then on.
//
// Errors: [ErrNone]; a [*attestd.CallerError] of class CONFLICT; what the store says.
func (d *Desk) Retire(
	ctx context.Context, who operator.Principal, ask wire.RecordOrder,
) (wire.RecordsChanged, error) {
	return d.order(ctx, who, ask, "subject.retire", func(one nhi.Record) *nhi.Record {
		one.Lifecycle = nhi.LifecycleRetired
		return &one
	})
}

// Remove takes a record out of the inventory: what has none is denied.
//
// Errors: as those of [Desk.Retire].
func (d *Desk) Remove(
	ctx context.Context, who operator.Principal, ask wire.RecordOrder,
) (wire.RecordsChanged, error) {
	return d.order(ctx, who, ask, "subject.remove", func(nhi.Record) *nhi.Record { return nil })
}

func (d *Desk) order(
	ctx context.Context, who operator.Principal, ask wire.RecordOrder, action string,
	next func(nhi.Record) *nhi.Record,
) (wire.RecordsChanged, error) {
	work := &importing{Desk: d, who: who, at: d.config.Now().UTC()}
	plan := func(ctx context.Context) (plan, error) {
		one, there, err := d.config.Store.FindRecord(ctx, slices.Clone(who.Tenants), ask.ID)
		if err != nil {
			return plan{}, err
		}
		if !there || !visible(who, one) {
			return plan{}, ErrNone
		}
		var made plan
		work.add(&made, one, next(one))
		return made, nil
	}
	return work.change(ctx, ask.DryRun, plan, audit.Record{
		Action: action, Target: attestd.Excerpt(ask.ID, 512), Reason: ask.Reason,
	})
}

// importing is one change on its way.
type importing struct {
	*Desk
	who operator.Principal
	ask wire.RecordsImport
	at  time.Time
}

// plan is what a change comes to by the records as they are now.
type plan struct {
	done   wire.RecordsChanged
	writes []nhi.RecordWrite
	// tenants are those whose records it changes.
	tenants  []string
	problems []string
}

// change plans and writes, again where records changed between the two.
func (i *importing) change(
	ctx context.Context, dry bool, planned func(context.Context) (plan, error), entry audit.Record,
) (wire.RecordsChanged, error) {
	for round := 1; ; round++ {
		made, err := planned(ctx)
		if err != nil {
			return wire.RecordsChanged{}, err
		}
		made.done.Schema, made.done.DryRun = changedSchema, dry
		if made.done.Changes == nil {
			made.done.Changes = []wire.RecordChange{}
		}
		made.done.Problems = listed(made.problems)
		if len(made.problems) > 0 {
			return wire.RecordsChanged{
				Schema: changedSchema, DryRun: dry, Problems: made.done.Problems,
				Changes: []wire.RecordChange{},
			}, nil
		}
		if dry || len(made.writes) == 0 {
			return made.done, nil
		}
		err = i.config.Store.WriteRecords(ctx, nhi.Write{
			Records: made.writes, Audit: i.entries(entry, made),
		})
		var moved *subject.MovedError
		if !errors.As(err, &moved) || round == rounds {
			return made.done, err
		}
	}
}

func listed(problems []string) []string {
	if problems == nil {
		return []string{}
	}
	if more := len(problems) - maxProblems; more > 0 {
		return append(problems[:maxProblems:maxProblems], fmt.Sprintf("and %d more", more))
	}
	return problems
}

// entries are those of the audit log: one for each tenant whose records change, so that each reads
// its own.
func (i *importing) entries(entry audit.Record, made plan) (out []audit.Record) {
	entry.At, entry.Actor, entry.Via, entry.Outcome = i.at, i.who.Name, i.who.Via, "done"
	counts := map[string]int{}
	for _, tenant := range made.tenants {
		counts[tenant]++
	}
	for _, tenant := range slices.Sorted(maps.Keys(counts)) {
		one := entry
		if one.Tenant = tenant; tenant == "" {
			one.Tenant = operator.AllTenants
		}
		one.Detail = map[string]string{"records": strconv.Itoa(counts[tenant])}
		maps.Copy(one.Detail, entry.Detail)
		out = append(out, one)
	}
	return out
}

// plan decides about the records of an import.
func (i *importing) plan(ctx context.Context) (plan, error) {
	var made plan
	ids := make([]string, 0, len(i.ask.Records))
	seen := map[string]bool{}
	for _, one := range i.ask.Records {
		if fold := nhi.Fold(one.ID); !seen[fold] {
			seen[fold] = true
			ids = append(ids, one.ID)
		} else {
			made.problems = append(made.problems, problem(one.ID, "stands twice"))
		}
	}
	rows, err := i.config.Store.RecordsAs(ctx, ids)
	if err != nil {
		return plan{}, err
	}
	have := make(map[string]nhi.Record, len(rows))
	for _, row := range rows {
		have[nhi.Fold(row.ID)] = row
	}
	for _, given := range i.ask.Records {
		before := have[nhi.Fold(given.ID)]
		next, wrong := i.next(before, given)
		if wrong != nil {
			made.problems = append(made.problems, wrong...)
			continue
		}
		i.add(&made, before, &next)
	}
	return made, nil
}

func problem(id, text string) string { return attestd.Excerpt(id, 100) + ": " + text }

// next returns what a record becomes, or what is wrong with it.
func (i *importing) next(before, given nhi.Record) (next nhi.Record, wrong []string) {
	known := before.Generation != 0
	if known && !visible(i.who, before) {
		return next, []string{problem(given.ID, notYours)}
	}
	if known && before.ID != given.ID {
		return next, []string{problem(given.ID, fmt.Sprintf("the inventory spells it %q",
			attestd.Excerpt(before.ID, 100)))}
	}
	next = given
	if !i.ask.Whole {
		next = merged(before, given)
	}
	if next.Tenant == "" {
		next.Tenant = i.ask.Tenant
	}
	if next.Lifecycle == "" {
		next.Lifecycle = nhi.LifecycleEnrolled
	}
	if next.Source == "" {
		next.Source = "operator"
	}
	next.Generation, next.Updated = before.Generation, before.Updated
	next.Tidy()
	for _, fault := range next.Check() {
		wrong = append(wrong, problem(given.ID, fault.String()))
	}
	if wrong == nil {
		if text := i.foreign(next); text != "" {
			wrong = append(wrong, problem(given.ID, text))
		}
	}
	return next, wrong
}

// foreign says why a record may not be of the tenant that it names; empty where it may. A tenant
// that is not the asker's and one that there is not are answered alike.
func (i *importing) foreign(next nhi.Record) string {
	if i.who.Sees(operator.AllTenants) {
		if next.Tenant != "" && !slices.Contains(i.config.Tenants, next.Tenant) {
			return "there is no tenant " + strconv.Quote(attestd.Excerpt(next.Tenant, 40))
		}
		return ""
	}
	if next.Tenant == "" || !i.who.Sees(next.Tenant) || !slices.Contains(i.config.Tenants, next.Tenant) {
		return "no tenant " + strconv.Quote(attestd.Excerpt(next.Tenant, 40)) + ", or not yours"
	}
	// A record of another tenant's identity would conflict with its hardware and have it denied.
	if standing := i.standing(next.ID, i.at); standing.Tenant != "" && standing.Tenant != next.Tenant {
		return notYours
	}
	return ""
}

// merged returns what is there with what is given laid over it.
func merged(before, given nhi.Record) nhi.Record {
	out := given
	fill := func(into *string, from string) {
		if *into == "" {
			*into = from
		}
	}
	fill(&out.Tenant, before.Tenant)
	fill(&out.Project, before.Project)
	fill(&out.Owner, before.Owner)
	fill((*string)(&out.Purpose), string(before.Purpose))
	fill(&out.Stage, before.Stage)
	fill(&out.Ring, before.Ring)
	fill((*string)(&out.Zone), string(before.Zone))
	fill(&out.Policy, before.Policy)
	fill((*string)(&out.Credential), string(before.Credential))
	fill((*string)(&out.Lifecycle), string(before.Lifecycle))
	if len(out.Tools) == 0 {
		out.Tools = before.Tools
	}
	if len(out.Datasets) == 0 {
		out.Datasets = before.Datasets
	}
	return out
}

// add takes a record's change up into the plan. Next is nil where the record goes.
func (i *importing) add(made *plan, before nhi.Record, next *nhi.Record) {
	change := wire.RecordChange{ID: before.ID, Tenant: before.Tenant, Kind: "removed"}
	tenants := []string{before.Tenant}
	switch {
	case next == nil:
		made.done.Removed++
	case before.Generation == 0:
		change = wire.RecordChange{
			ID: next.ID, Tenant: next.Tenant, Kind: "added", Fields: fields(before, *next),
		}
		tenants = []string{next.Tenant}
		made.done.Added++
	default:
		change.Kind, change.Tenant, change.Fields = "updated", next.Tenant, fields(before, *next)
		if len(change.Fields) == 0 {
			made.done.Same++
			return
		}
		if next.Tenant != before.Tenant {
			tenants = append(tenants, next.Tenant)
		}
		made.done.Updated++
	}
	write := nhi.RecordWrite{ID: change.ID, Expect: before.Generation}
	if next != nil {
		stamped := *next
		stamped.Updated = i.at
		write.Next = &stamped
	}
	made.writes = append(made.writes, write)
	made.tenants = append(made.tenants, tenants...)
	if len(made.done.Changes) < maxShown {
		made.done.Changes = append(made.done.Changes, change)
	}
}

// fields are those in which two records differ; where a record came from is one only beside others.
func fields(a, b nhi.Record) (out []wire.RecordField) {
	for _, one := range []struct{ name, was, is string }{
		{"tenant", a.Tenant, b.Tenant}, {"project", a.Project, b.Project}, {"owner", a.Owner, b.Owner},
		{"purpose", string(a.Purpose), string(b.Purpose)}, {"stage", a.Stage, b.Stage},
		{"ring", a.Ring, b.Ring}, {"zone", string(a.Zone), string(b.Zone)},
		{"tools", strings.Join(a.Tools, " "), strings.Join(b.Tools, " ")},
		{"datasets", strings.Join(a.Datasets, " "), strings.Join(b.Datasets, " ")},
		{"policy", a.Policy, b.Policy}, {"credential", string(a.Credential), string(b.Credential)},
		{"lifecycle", string(a.Lifecycle), string(b.Lifecycle)},
	} {
		if one.was != one.is {
			out = append(out, wire.RecordField{Field: one.name, Was: one.was, Is: one.is})
		}
	}
	return out
}
