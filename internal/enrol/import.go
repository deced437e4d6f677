package enrol

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// maxShown is how many of the changed entries an answer lists.
const maxShown = 100

// askSize is how many keys are asked for at once.
const askSize = 64

// importRounds is how often a part of an import is decided anew where rows changed beneath it.
const importRounds = 4

// Import enrols the machines of a list for a tenant. Where anything is wrong with the list, or with one
// machine of it, everything that is wrong is said, and nothing enrolled. A list is written in parts of
// pageSize, each durable before the next: where the store fails half-way, the same import again does
// the rest.
//
// Errors: a [*attestd.CallerError] of class MALFORMED, FORBIDDEN or CONFLICT; what the store says.
// Problems of the list are no error.
func (d *Desk) Import(ctx context.Context, who operator.Principal, ask wire.Import) (wire.Imported, error) {
	done := wire.Imported{
		Schema: "attestd.imported.v1", DryRun: ask.DryRun, Problems: []string{},
		Entries: []subject.Ownership{},
	}
	if err := d.demand(who, ask.Tenant); err != nil {
		return done, err
	}
	if err := d.checkImport(ask); err != nil {
		return done, err
	}
	entries, problems := ReadList(ask.Kind, ask.Document)
	if len(problems) > 0 {
		done.Problems = problems
		return done, nil
	}
	work := importing{desk: d, who: who, ask: ask, at: d.now()}
	digest := sha256.Sum256(ask.Document)
	work.digest = hex.EncodeToString(digest[:])
	// The whole list is looked at before any of it is written.
	planned, steps := done, make([]step, 0, len(entries)/pageSize+1)
	for part := range slices.Chunk(entries, pageSize) {
		step, err := work.plan(ctx, part)
		if err != nil {
			return done, err
		}
		problems, steps = append(problems, step.problems...), append(steps, step)
		count(&planned, step)
	}
	if more := len(problems) - maxProblems; more > 0 {
		problems = append(problems[:maxProblems:maxProblems], fmt.Sprintf("and %d more", more))
	}
	if len(problems) > 0 {
		done.Problems = problems
		return done, nil
	}
	if ask.DryRun {
		return planned, nil
	}
	for at, part := range slices.Collect(slices.Chunk(entries, pageSize)) {
		step, err := work.write(ctx, part, steps[at])
		if err != nil {
			return done, err
		}
		count(&done, step)
	}
	return done, nil
}

func (d *Desk) checkImport(ask wire.Import) error {
	switch {
	case !slices.Contains(Lists(), ask.Kind):
		return malformed(fmt.Sprintf("one of: %q", Lists()), "%q is no kind of list",
			attestd.Excerpt(ask.Kind, 40))
	case ask.Source == "" || checkLabel(ask.Source) != nil:
		return malformed("give the name of the file", "the list has no name that could be written down")
	case !ask.ExpiresAt.IsZero() && !d.now().Before(ask.ExpiresAt):
		return malformed("give a time to come, or none", "the enrolment would be over already")
	}
	return nil
}

// importing is one import on its way.
type importing struct {
	desk   *Desk
	who    operator.Principal
	ask    wire.Import
	at     time.Time
	digest string
}

// step is what one part of an import does.
type step struct {
	writes         []subject.OwnershipWrite
	added, updated int
	same           int
	problems       []string
}

// plan decides about a part of the list by the rows as they are now.
func (i *importing) plan(ctx context.Context, part []Entry) (step, error) {
	rows, err := i.rows(ctx, part)
	if err != nil {
		return step{}, err
	}
	var made step
	for _, entry := range part {
		row := rows[entry.Key]
		next, problem := i.next(entry, row)
		switch {
		case problem != "":
			made.problems = append(made.problems, entry.place+": "+problem)
			continue
		case same(next, row):
			made.same++
			continue
		case row.Generation == 0:
			made.added++
		default:
			made.updated++
		}
		made.writes = append(made.writes,
			subject.OwnershipWrite{Key: entry.Key, Expect: row.Generation, Next: &next})
	}
	return made, nil
}

// rows returns the rows that there are of a part.
func (i *importing) rows(
	ctx context.Context, part []Entry,
) (map[subject.Key]subject.Ownership, error) {
	rows := make(map[subject.Key]subject.Ownership, len(part))
	for some := range slices.Chunk(part, askSize) {
		keys := make([]subject.Key, len(some))
		for at, entry := range some {
			keys[at] = entry.Key
		}
		known, err := i.desk.store.Known(ctx, subject.Ask{Owners: keys})
		if err != nil {
			return nil, err
		}
		for _, row := range known.Owners {
			rows[row.Key] = row
		}
	}
	return rows, nil
}

// next returns the row that an entry makes of the one that is there.
func (i *importing) next(entry Entry, row subject.Ownership) (next subject.Ownership, problem string) {
	switch {
	case row.Generation != 0 && !i.who.May(operator.Operator, row.Tenant):
		return next, errTaken(entry.Key).Error()
	case row.Status == subject.StatusDenied:
		// A list that was made before the denial would otherwise lift it, and nobody would notice.
		return next, entry.Key.String() + " is denied; attestd enroll approve lifts that"
	case row.Status == subject.StatusApproved && row.Tenant != i.ask.Tenant:
		return next, fmt.Sprintf("%s belongs to tenant %s; attestd enroll approve moves it", entry.Key, row.Tenant)
	case !entry.ExpiresAt.IsZero() && !i.at.Before(entry.ExpiresAt):
		return next, "expires_at: the enrolment would be over already"
	}
	next = row
	if row.Generation == 0 {
		next.Key, next.CreatedAt = entry.Key, i.at
	}
	next.Tenant, next.Status, next.Method = i.ask.Tenant, subject.StatusApproved, i.method(entry.Key.Kind)
	next.Source, next.By, next.DecidedAt = i.ask.Source, i.who.Name, i.at
	next.ExpiresAt = i.ask.ExpiresAt
	if !entry.ExpiresAt.IsZero() {
		next.ExpiresAt = entry.ExpiresAt
	}
	if entry.Label != "" {
		next.Label = entry.Label
	}
	if !same(next, row) && !i.desk.mayTake(i.who, entry.Key) {
		return next, errShared(entry.Key).Error()
	}
	return next, ""
}

// method is how a machine of the list is known to be ours.
func (i *importing) method(kind string) subject.Method {
	switch i.ask.Kind {
	case ListAWS, ListGCE, ListAzure:
		return subject.MethodCloud
	default:
		return methodOf(kind)
	}
}

// same reports whether a row says already what an entry says.
func same(next, row subject.Ownership) bool {
	return row.Status == next.Status && row.Tenant == next.Tenant && row.Method == next.Method &&
		row.Label == next.Label && row.ExpiresAt.Equal(next.ExpiresAt)
}

// write carries a part out as it was planned; where a row changed meanwhile, it is decided anew.
func (i *importing) write(ctx context.Context, part []Entry, made step) (step, error) {
	for round := 1; ; round++ {
		if len(made.problems) > 0 {
			return step{}, &attestd.CallerError{
				Class: attestd.ClassConflict, Hint: "import it again: what was written before stays",
				Err: fmt.Errorf("changed while the list was written: %s", made.problems[0]),
			}
		}
		if len(made.writes) == 0 {
			return made, nil
		}
		record := i.desk.audited(i.who, i.ask.Tenant, "enroll.import", i.ask.Source)
		record.Detail = map[string]string{
			"kind": i.ask.Kind, "sha256": i.digest,
			"added": strconv.Itoa(made.added), "updated": strconv.Itoa(made.updated),
		}
		err := i.desk.write(ctx, subject.Write{Owners: made.writes, Audit: []audit.Record{record}})
		if err == nil || !moved(err) || round == importRounds {
			return made, err
		}
		if made, err = i.plan(ctx, part); err != nil {
			return step{}, err
		}
	}
}

// count adds a step to the answer.
func count(done *wire.Imported, made step) {
	done.Added += made.added
	done.Updated += made.updated
	done.Same += made.same
	for _, write := range made.writes {
		if len(done.Entries) < maxShown {
			done.Entries = append(done.Entries, *write.Next) // of the generation that it takes the place of
		}
	}
}
