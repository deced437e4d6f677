package controller

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
)

// What a task does, as attestd reads it in a report.
const (
	whatBan    = "ban"
	whatUnban  = "unban"
	whatHold   = "hold"
	whatUnhold = "unhold"
)

// target is an agent, or the entries of a SPIFFE ID.
type target struct {
	entry bool
	id    string
}

// task lays or lifts one thing in SPIRE, and goes on with it until an order says otherwise.
type task struct {
	target  target
	what    string
	number  uint64 // of the orders that it came with
	arrived time.Time
	cancel  context.CancelFunc
	ended   chan struct{}
	kick    chan struct{} // the poll saw that it is not as ordered
	tried   chan struct{} // closed after the first try

	mu     sync.Mutex
	once   bool
	done   bool
	after  time.Duration
	detail string
	untold bool
	over   bool // nothing more to do: a lift that is done
}

func (t *task) lays() bool { return t.what == whatBan || t.what == whatHold }

// status is one id for a report, and whether it is as ordered.
func (t *task) status() (wire.ReachedOne, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return wire.ReachedOne{
		ID: t.target.id, What: t.what, After: t.after.Microseconds(), Detail: t.detail,
	}, t.done
}

// orders is everything that must hold, and the tasks that see to it.
type orders struct {
	c   *controller
	ctx context.Context // of the tasks; set before the first

	// slots bound the calls that are under way at SPIRE: a wave of orders may not take the server from
	// the agents that attest. What is laid for the first time never waits for what is repeated.
	first, repeat chan struct{}
	releases      *pace
	bursts        atomic.Int64 // bans that are laid again and again now
	news          chan struct{}

	mu     sync.Mutex
	taken  bool
	number uint64
	tasks  map[target]*task
	work   sync.WaitGroup
}

const (
	firstSlots, repeatSlots = 64, 16
	// A release makes an agent attest again, so a wave of them is spread as other forced attestations
	// are; a few at a time are not kept waiting.
	releasesAMinute = 10
)

func newOrders(c *controller) *orders {
	return &orders{
		c: c, first: make(chan struct{}, firstSlots), repeat: make(chan struct{}, repeatSlots),
		releases: &pace{least: releasesAMinute}, news: make(chan struct{}, 1), tasks: map[target]*task{},
	}
}

// wait returns when the tasks have ended, after their context has.
func (o *orders) wait() { o.work.Wait() }

// newLink forgets the number of the last orders: the daemon that answers now may count anew. On one
// link, what was asked for and what is sent unasked can overtake each other, and the number decides.
func (o *orders) newLink() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.number = 0
	for _, one := range o.tasks {
		one.mu.Lock()
		one.untold = one.once
		one.mu.Unlock()
	}
	o.signal()
}

// set takes orders, which are always a whole: what they no longer name is lifted. It returns the tasks
// that began with orders of that number, also where those came before: they come of themselves and in
// an operator's request, which waits for what they do. It returns false where newer orders came before.
func (o *orders) set(in wire.Orders) (changed []*task, taken bool) {
	wanted := map[target]bool{}
	for _, id := range in.Bans {
		wanted[target{id: id}] = true
	}
	for _, id := range in.Holds {
		wanted[target{entry: true, id: id}] = true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ctx.Err() != nil || in.Number < o.number {
		return nil, false
	}
	o.taken, o.number = true, in.Number
	now := time.Now()
	for at := range wanted {
		if old := o.tasks[at]; old == nil || !old.lays() {
			changed = append(changed, o.begin(at, true, now))
		}
	}
	for at, old := range o.tasks {
		if !wanted[at] && old.lays() {
			changed = append(changed, o.begin(at, false, now))
		}
	}
	// After a restart the record alone knows which bans were laid.
	for _, id := range o.c.record.ownBans() {
		if at := (target{id: id}); !wanted[at] && o.tasks[at] == nil {
			changed = append(changed, o.begin(at, false, now))
		}
	}
	for _, one := range o.tasks {
		if one.number == in.Number && !slices.Contains(changed, one) {
			changed = append(changed, one)
		}
	}
	return changed, true
}

// begin starts a task in the place of the one there is, which ends first. The caller has the lock.
func (o *orders) begin(at target, lays bool, now time.Time) *task {
	ctx, cancel := context.WithCancel(o.ctx)
	next := &task{
		target: at, number: o.number, arrived: now, cancel: cancel, ended: make(chan struct{}),
		kick: make(chan struct{}, 1), tried: make(chan struct{}),
	}
	work := o.unban
	switch {
	case at.entry && lays:
		next.what, work = whatHold, o.hold
	case at.entry:
		next.what, work = whatUnhold, o.unhold
	case lays:
		next.what, work = whatBan, o.ban
	default:
		next.what = whatUnban
	}
	old := o.tasks[at]
	o.tasks[at] = next
	o.work.Go(func() {
		defer close(next.ended)
		defer cancel()
		if old != nil {
			// A ban that goes on after its agent was deleted would ban it again.
			old.cancel()
			<-old.ended
		}
		work(ctx, next)
	})
	return next
}

// ordered reports whether a target must be banned or held now.
func (o *orders) ordered(at target) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	one := o.tasks[at]
	return one != nil && one.lays()
}

// say notes how far a task has come; a change of it is told.
func (o *orders) say(t *task, done bool, detail string) {
	t.mu.Lock()
	first := !t.once
	if first {
		t.once = true
		close(t.tried)
	}
	if first || t.done != done || t.detail != detail {
		t.untold = true
		if done && !t.done {
			t.after = time.Since(t.arrived)
		}
		t.done, t.detail = done, detail
	}
	untold := t.untold
	t.mu.Unlock()
	if untold {
		o.signal()
	}
}

// finish is say for a task that has nothing more to do.
func (o *orders) finish(t *task, done bool, detail string) {
	o.say(t, done, detail)
	t.mu.Lock()
	t.over = true
	t.mu.Unlock()
}

func (o *orders) signal() {
	select {
	case o.news <- struct{}{}:
	default:
	}
}

// reached waits until each of the changes was tried once, and reports them and all that is open.
func (o *orders) reached(ctx context.Context, number uint64, changed []*task) wire.Reached {
	for _, one := range changed {
		select {
		case <-one.tried:
		case <-ctx.Done():
		}
	}
	report := newReached(number)
	for _, one := range changed {
		report.add(one)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, one := range o.tasks {
		if _, done := one.status(); !done && !slices.Contains(changed, one) {
			report.add(one)
		}
	}
	return report.sorted()
}

type reached struct{ wire.Reached }

func newReached(number uint64) *reached {
	return &reached{wire.Reached{Number: number, Done: []wire.ReachedOne{}, Open: []wire.ReachedOne{}}}
}

func (r *reached) add(t *task) {
	one, done := t.status()
	if done {
		r.Done = append(r.Done, one)
		return
	}
	if one.Detail == "" {
		one.Detail = "SPIRE was not reached in time; it goes on"
	}
	r.Open = append(r.Open, one)
}

func (r *reached) sorted() wire.Reached {
	byID := func(a, b wire.ReachedOne) int { return strings.Compare(a.ID+a.What, b.ID+b.What) }
	slices.SortFunc(r.Done, byID)
	slices.SortFunc(r.Open, byID)
	return r.Reached
}

// tell reports to attestd whatever changed.
func (o *orders) tell(ctx context.Context) {
	for {
		select {
		case <-o.news:
		case <-ctx.Done():
			return
		}
		for !o.tellOnce(ctx) {
			if !pause(ctx, time.Second) {
				return
			}
		}
	}
}

// maxTold bounds one report.
const maxTold = 2_000

func (o *orders) tellOnce(ctx context.Context) bool {
	o.mu.Lock()
	report, told := newReached(o.number), []*task{}
	for _, one := range o.tasks {
		one.mu.Lock()
		untold := one.untold
		one.untold = false
		one.mu.Unlock()
		if untold {
			report.add(one)
			told = append(told, one)
			if len(told) == maxTold {
				o.signal()
				break
			}
		}
	}
	o.mu.Unlock()
	if len(told) == 0 {
		return true
	}
	err := call(ctx, func(ctx context.Context) error {
		return o.c.link.Call(ctx, wire.MethodReached, report.sorted(), nil)
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, one := range told {
		one.mu.Lock()
		if err != nil {
			one.untold = true
		} else if one.over && !one.untold && one.done && o.tasks[one.target] == one {
			delete(o.tasks, one.target)
		}
		one.mu.Unlock()
	}
	if err != nil && !notLinked(err) && ctx.Err() == nil {
		o.c.log.WarnContext(ctx, "attestd did not take a report", "err", attestd.Excerpt(err.Error(), 200))
	}
	return err == nil
}

// reconcile compares what a poll found with what is ordered.
func (o *orders) reconcile(agents []agent, entries []wire.Entry) {
	present := make(map[string]bool, len(agents))
	for _, one := range agents {
		present[one.ID] = one.Banned
	}
	held := map[string]bool{}  // SPIFFE IDs with a mark of attestd's
	there := map[string]bool{} // entries
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.taken {
		return // what must hold is not known yet
	}
	for _, one := range entries {
		there[one.ID] = true
		if o.c.holdable(one.ID) && marked(one) {
			held[one.SPIFFEID] = true
		}
	}
	for at, one := range o.tasks {
		wrong := false
		switch one.what {
		case whatBan:
			wrong = !present[at.id] // not banned, or not there
		case whatHold:
			wrong = true // a list of a few entries each
		}
		if wrong {
			select {
			case one.kick <- struct{}{}:
			default:
			}
		}
	}
	now := time.Now()
	for id := range held {
		if at := (target{entry: true, id: id}); o.tasks[at] == nil {
			o.begin(at, false, now)
		}
	}
	o.c.record.forgetHolds(there)
}
