package enrol

import (
	"context"
	"sync"
	"time"

	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

const (
	// countAgain is how long counts of the queue are believed.
	countAgain = time.Minute
	// noteAgain is how often a waiting machine that goes on asking is written down.
	noteAgain = time.Minute
	// pageSize is how many rows are read, written or looked up at once.
	pageSize = 1000
)

// queue counts the machines that wait, so that a flood is refused without asking the store.
type queue struct {
	mu        sync.Mutex
	countedAt time.Time
	tenants   map[string]int
	sources   map[string]int
	// asked counts what came since a machine was last written down.
	asked map[subject.Key]int
}

// Asks returns the write that puts a machine that is nobody's into the queue of the tenant that it
// asked for, or notes that it asked again; nil where there is nothing to write: the machine is owned,
// denied or another tenant's, it has no instance, it asked a moment ago, or the queue of its tenant or
// source is full (then full is true). The write is for the transaction that stores the verdict.
//
// Only a machine whose evidence was authentic and fresh may ask. That it waits gives it nothing.
func (d *Desk) Asks(
	ctx context.Context, machine Machine, settled Settlement,
) (write *subject.OwnershipWrite, full bool, err error) {
	switch settled.Standing {
	case StandingNone, StandingPending, StandingExpired:
	default:
		return nil, false, nil
	}
	key, ok := machine.Instance()
	if !ok || !d.known(machine.Tenant) {
		return nil, false, nil
	}
	now, row := d.now(), settled.instance
	next := subject.Ownership{
		Key: key, Tenant: machine.Tenant, Method: subject.MethodNone, Status: subject.StatusPending,
		Source: machine.Source, Format: string(machine.Format), CreatedAt: now, SeenAt: now, Seen: 1,
		ExpiresAt: now.Add(d.limits.PendingKeep),
	}
	if row.Tenant == machine.Tenant {
		next.Label = row.Label // what another tenant called it is not this one's to read
	}
	waits := row.Status == subject.StatusPending && row.Tenant == machine.Tenant && now.Before(row.ExpiresAt)
	if waits {
		more, due := d.queue.again(key, now.Sub(row.SeenAt))
		if !due {
			return nil, false, nil
		}
		// It waits under the source that it first asked from: another one does not pay for it.
		next.CreatedAt, next.Seen, next.Source = row.CreatedAt, row.Seen+more, row.Source
	} else {
		if err := d.recount(ctx, now); err != nil {
			return nil, false, err
		}
		if !d.queue.enter(machine, d.limits) {
			return nil, true, nil
		}
	}
	return &subject.OwnershipWrite{Key: key, Expect: row.Generation, Next: &next}, false, nil
}

// again counts a machine that waits already. Of what is due, more says how often it asked.
func (q *queue) again(key subject.Key, since time.Duration) (more int, due bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	// A clock that went back makes since negative: such a row is written anew.
	if since >= 0 && since < noteAgain {
		if q.asked == nil || len(q.asked) > maxAsked {
			q.asked = make(map[subject.Key]int)
		}
		q.asked[key]++
		return 0, false
	}
	more = q.asked[key] + 1
	delete(q.asked, key)
	return more, true
}

// maxAsked bounds the counts that are not written yet; beyond it they begin anew.
const maxAsked = 100_000

// enter takes a place in the queue, if there is one.
func (q *queue) enter(machine Machine, limits Limits) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.tenants[machine.Tenant] >= limits.PendingPerTenant ||
		q.sources[machine.Source] >= limits.PendingPerSource {
		return false
	}
	q.tenants[machine.Tenant]++
	q.sources[machine.Source]++
	return true
}

// forgetCount has the queue counted anew before the next machine takes a place.
func (q *queue) forgetCount() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.countedAt = time.Time{}
}

// recount counts the queue anew where the counts are old: places that were taken for verdicts that
// were never stored come back that way.
func (d *Desk) recount(ctx context.Context, now time.Time) error {
	d.queue.mu.Lock()
	since := now.Sub(d.queue.countedAt)
	fresh := d.queue.tenants != nil && since >= 0 && since < countAgain
	if !fresh {
		d.queue.countedAt = now // others go on with the old counts meanwhile, if there are any
	}
	d.queue.mu.Unlock()
	if fresh {
		return nil
	}
	_, err := d.Sweep(ctx)
	return err
}

// Sweep removes the machines that have waited too long, and counts those that wait. It returns how
// many were removed.
func (d *Desk) Sweep(ctx context.Context) (removed int, err error) {
	now, tenants, sources := d.now(), map[string]int{}, map[string]int{}
	after := ""
	for {
		rows, next, err := d.store.Ownerships(ctx, subject.Filter{
			Tenants: []string{operator.AllTenants}, Status: subject.StatusPending,
			After: after, Limit: pageSize,
		})
		if err != nil {
			return removed, err
		}
		var gone []subject.OwnershipWrite
		for _, row := range rows {
			if now.Before(row.ExpiresAt) {
				tenants[row.Tenant]++
				sources[row.Source]++
				continue
			}
			gone = append(gone, subject.OwnershipWrite{Key: row.Key, Expect: row.Generation})
		}
		if err := d.forget(ctx, gone); err != nil {
			return removed, err
		}
		removed += len(gone)
		if after = next; next == "" {
			break
		}
	}
	d.queue.mu.Lock()
	defer d.queue.mu.Unlock()
	d.queue.tenants, d.queue.sources, d.queue.countedAt = tenants, sources, now
	return removed, nil
}

// forget removes rows that waited too long, in one write with one record.
func (d *Desk) forget(ctx context.Context, gone []subject.OwnershipWrite) error {
	if len(gone) == 0 {
		return nil
	}
	err := d.store.Write(ctx, subject.Write{Owners: gone, Audit: []audit.Record{{
		At: d.now(), Actor: actorSelf, Tenant: operator.AllTenants, Action: "enroll.expire",
		Outcome: outcomeDone, Count: len(gone),
		Reason: "waited for approval longer than enrolment.pending_keep",
	}}})
	if moved(err) {
		return nil // one of them asked again just now; the next sweep finds the others
	}
	return err
}
