package revocation

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// lookup is how long a direct order waits for a store that may be down to say what its target is.
const lookup = 250 * time.Millisecond

// direct holds first and records after: it waits for neither store nor audit log.
func (a *Authority) direct(
	ctx context.Context, who operator.Principal, order wire.Order, state attestd.State, action string,
) (wire.Receipt, error) {
	began := a.Now()
	found, err := a.findDirect(ctx, who, order)
	if err != nil {
		return wire.Receipt{}, err
	}
	write := subject.Lay(state, found.keys, found.tenant, found.subjects, found.bars, subject.Act{
		By: who.Name, Code: subject.CodeOperator, Text: order.Reason, Ticket: order.Ticket, At: began,
	})
	record := recordOf(who, order, action, found, began)
	record.Detail["direct"] = "yes"
	one := entry{State: state, Bars: barsOf(write), Tenant: found.tenant, Audit: record}
	if found.named != nil {
		one.ID = found.named.ID
	}
	held, journaled, journalErr := a.hold(ctx, began, one)
	receipt := a.receipt(began, who, order, action, found, write)
	receipt.Channels = []wire.Channel{
		{Name: "grants", State: "effective", After: held, Detail: "refused from the acknowledgement on"},
		{Name: "journal", State: "journaled", After: journaled, Detail: "survives a restart"},
		{Name: "store", State: "pending", Detail: "and the audit log: as soon as they can be written"},
	}
	if journalErr != nil {
		receipt.Channels[1] = wire.Channel{
			Name: "journal", State: "failed", After: journaled,
			Detail: "the hold ends with this process unless the store can be written before",
		}
	}
	return receipt, nil
}

// hold lays bars in memory and then in the journal, and says after how many microseconds each was so.
func (a *Authority) hold(ctx context.Context, began time.Time, one entry) (held, journaled int64, err error) {
	one = a.journal.enter(one, a.Index.Hold)
	held = a.Now().Sub(began).Microseconds()
	err = a.journal.write(one)
	journaled = a.Now().Sub(began).Microseconds()
	if err != nil {
		a.Logger.ErrorContext(ctx, "a direct hold is in memory alone", slog.Any("err", err))
	}
	select {
	case a.kick <- struct{}{}:
	default: // Run is awake already
	}
	return held, journaled, err
}

func barsOf(write subject.Write) []subject.Bar {
	bars := make([]subject.Bar, 0, len(write.Bars))
	for _, one := range write.Bars {
		bars = append(bars, *one.Next)
	}
	return bars
}

// findDirect resolves a target with the store where that answers at once, and else by its words alone:
// that takes an operator of all tenants, since nothing says whose it is.
func (a *Authority) findDirect(
	ctx context.Context, who operator.Principal, order wire.Order,
) (target, error) {
	short, cancel := context.WithTimeout(ctx, lookup)
	defer cancel()
	found, err := a.find(short, who, order)
	var caller *attestd.CallerError
	if err == nil || errors.As(err, &caller) {
		return found, err
	}
	if !who.Sees(operator.AllTenants) {
		return target{}, &attestd.UndecidedError{
			Class: attestd.ClassStoreUnavailable, Got: "a store that does not say whose it is",
			Want: "an operator of all tenants", Hint: "ask an operator of all tenants", Err: err,
		}
	}
	found = target{tenant: order.Tenant}
	if found.tenant == "" {
		found.tenant = subject.Shared
	}
	switch kind, value, _ := strings.Cut(order.Target, ":"); {
	case order.Host:
		return target{}, refuse(attestd.ClassConflict, "order host:VALUE as well, without --host",
			"the store does not say which host it is")
	case strings.HasPrefix(order.Target, "spiffe://"):
		id, err := subject.ParseID(order.Target)
		if err != nil {
			return target{}, err
		}
		found.keys, found.named = []subject.Key{id.Key()}, &subject.Subject{ID: id}
	case value != "" && (kind == string(subject.BarInstance) || kind == string(subject.BarHost)):
		found.keys = []subject.Key{{Kind: kind, Value: value}}
	default:
		return target{}, refuse(attestd.ClassConflict, "give the whole SPIFFE ID, or instance:VALUE",
			"the store does not say what %q is short for", attestd.Excerpt(order.Target, 80))
	}
	return found, nil
}

// Drain makes the store take over what the journal holds. It does nothing where that is empty.
//
// Errors: where an entry could not be taken over; it stays in force and in the journal.
func (a *Authority) Drain(ctx context.Context) error { return a.drain(ctx) }

func (a *Authority) drain(ctx context.Context) error {
	a.draining.Lock()
	defer a.draining.Unlock()
	var taken []uint64
	var failed error
	for _, one := range a.journal.waiting() {
		if err := a.takeOver(ctx, one); err != nil {
			failed = err
			continue
		}
		if taken = append(taken, one.Number); len(taken) == drainBatch {
			a.settle(ctx, taken)
			taken = nil
		}
	}
	a.settle(ctx, taken)
	return failed
}

// drainBatch is how many entries are taken over before the journal is told: a process that is killed
// now and then comes to the end of a long journal all the same.
const drainBatch = 32

func (a *Authority) settle(ctx context.Context, taken []uint64) {
	if len(taken) == 0 {
		return
	}
	if err := a.journal.done(taken, a.Index.Settle); err != nil {
		// They are durable twice. A restart would lay them again, which is the safe side.
		a.Logger.ErrorContext(ctx, "the journal keeps holds that the store has", slog.Any("err", err))
	}
}

// takeOver writes an entry to the store as the order would have.
func (a *Authority) takeOver(ctx context.Context, one entry) error {
	_, err := a.impose(ctx, func() (subject.Write, error) {
		found, err := a.reload(ctx, one)
		if err != nil {
			return subject.Write{}, err
		}
		first := one.Bars[0]
		write := subject.Lay(one.State, found.keys, found.tenant, found.subjects, found.bars, subject.Act{
			By: first.By, Automatic: first.Automatic, Code: first.Code, Text: first.Text,
			Ticket: first.Ticket, At: first.At,
		})
		write.Audit = append(write.Audit, one.Audit)
		return write, nil
	})
	return err
}

// reload resolves an entry again: what the store could not say then it says now.
func (a *Authority) reload(ctx context.Context, one entry) (target, error) {
	found := target{keys: keysOf(one.Bars), tenant: one.Tenant}
	ask := subject.Ask{ID: one.ID}
	host := ""
	for _, key := range found.keys {
		switch key.Kind {
		case string(subject.BarInstance):
			ask.Instance = attestd.Handle{Kind: attestd.HandleInstance, Value: key.Value}
		case string(subject.BarHost):
			host = key.Value
		}
	}
	known, err := a.Store.Known(ctx, ask)
	if err != nil {
		return target{}, err
	}
	if known.Subject != nil {
		s := *known.Subject
		found.subjects, found.named, found.tenant = []subject.Subject{s}, &s, s.Tenant
		instance := subject.Key{Kind: string(subject.BarInstance), Value: s.Instance.Value}
		if one.ID != "" && ask.Instance.Value == "" && instance.Value != "" {
			found.keys = append(found.keys, instance)
		}
	}
	if known.Subject == nil && one.ID != "" && found.tenant != subject.Shared {
		found.unseen(one.ID, a.Now())
	}
	if host == "" {
		return found, a.bars(ctx, &found)
	}
	found.keys = without(found.keys, string(subject.BarHost))
	return a.findHost(ctx, found, host)
}

func without(keys []subject.Key, kind string) []subject.Key {
	var out []subject.Key
	for _, key := range keys {
		if key.Kind != kind {
			out = append(out, key)
		}
	}
	return out
}
