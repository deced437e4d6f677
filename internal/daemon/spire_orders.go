package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/revocation"
	spirewire "github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// orders are an operator's: quarantine, release and revoke, as the revocation authority carries them
// out.
type orders interface {
	Quarantine(ctx context.Context, who operator.Principal, order wire.Order) (wire.Receipt, error)
	Release(ctx context.Context, who operator.Principal, order wire.Order) (wire.Receipt, error)
	Revoke(ctx context.Context, who operator.Principal, order wire.Order) (wire.Receipt, error)
}

// spireOrders carries orders out, and then says how far SPIRE has come with them. What it finds in
// SPIRE never changes an answer: the hold is durable and grants are refused by then.
type spireOrders struct {
	orders
	// standing are the orders in force; enforce has the controller carry them out.
	standing func() (spirewire.Orders, <-chan struct{})
	enforce  func(ctx context.Context, orders spirewire.Orders) (spirewire.Reached, error)
	// heldOver says until when a composer that does not reach attestd can still issue, by now's clock.
	heldOver func(id subject.ID) time.Time
	now      func() time.Time
}

// enforceWait is how long an operator waits for SPIRE; the controller goes on by itself.
const enforceWait = 2 * time.Second

// Quarantine implements [orders].
func (o spireOrders) Quarantine(
	ctx context.Context, who operator.Principal, order wire.Order,
) (wire.Receipt, error) {
	return o.reach(ctx, order, func() (wire.Receipt, error) { return o.orders.Quarantine(ctx, who, order) })
}

// Release implements [orders].
func (o spireOrders) Release(
	ctx context.Context, who operator.Principal, order wire.Order,
) (wire.Receipt, error) {
	return o.reach(ctx, order, func() (wire.Receipt, error) { return o.orders.Release(ctx, who, order) })
}

// Revoke implements [orders].
func (o spireOrders) Revoke(
	ctx context.Context, who operator.Principal, order wire.Order,
) (wire.Receipt, error) {
	return o.reach(ctx, order, func() (wire.Receipt, error) { return o.orders.Revoke(ctx, who, order) })
}

func (o spireOrders) reach(
	ctx context.Context, order wire.Order, carryOut func() (wire.Receipt, error),
) (wire.Receipt, error) {
	began := time.Now()
	receipt, err := carryOut()
	if err != nil || order.DryRun || len(receipt.Subjects) == 0 && len(receipt.Bars) == 0 {
		return receipt, err
	}
	receipt.Channels = append(receipt.Channels, o.composers(receipt, time.Since(began))...)
	ctx, stop := context.WithTimeout(ctx, enforceWait)
	defer stop()
	concerned := map[string]bool{}
	for _, one := range receipt.Subjects {
		concerned[string(one.ID)] = true
	}
	standing, _ := o.standing()
	reached, err := o.enforce(ctx, standing)
	if err != nil {
		receipt.Channels = append(receipt.Channels, wire.Channel{
			Name: "spire", State: "pending", After: time.Since(began).Microseconds(),
			Detail: "agents and entries are as they were, and nothing is granted to them: " +
				attestd.Excerpt(err.Error(), 160),
		})
	} else {
		receipt.Channels = append(receipt.Channels, channelsOf(reached, concerned, began)...)
	}
	return receipt, nil
}

// composers says until when composers that do not reach attestd can go on issuing to what is held. The
// receipt counts that as a grant, which stands for any number of JWT-SVIDs.
func (o spireOrders) composers(receipt wire.Receipt, after time.Duration) []wire.Channel {
	if receipt.Action == revocation.ActionRelease {
		return nil
	}
	var until time.Time
	for _, one := range receipt.Subjects {
		until = latest(until, o.heldOver(one.ID))
	}
	for _, bar := range receipt.Bars {
		if name, found := strings.CutPrefix(bar, string(subject.BarSubject)+":"); found {
			until = latest(until, o.heldOver(subject.ID(name)))
		}
	}
	if !until.After(o.now()) {
		return nil
	}
	return []wire.Channel{{
		Name: "spire-composers", State: "pending", After: after.Microseconds(),
		Detail: "one that does not reach attestd can issue JWT-SVIDs that end by " +
			until.UTC().Format(time.RFC3339),
	}}
}

// channelNames are what a receipt calls the things that the controller does.
var channelNames = map[string]string{
	"ban": "spire-ban", "unban": "spire-ban", "hold": "spire-entries", "unhold": "spire-entries",
}

// channelsOf sums up what the controller reached for the ids that an order is about.
func channelsOf(reached spirewire.Reached, concerned map[string]bool, began time.Time) []wire.Channel {
	after := time.Since(began).Microseconds()
	var out []wire.Channel
	find := func(name string) *wire.Channel {
		for i := range out {
			if out[i].Name == name {
				return &out[i]
			}
		}
		out = append(out, wire.Channel{Name: name, State: "effective", After: after})
		return &out[len(out)-1]
	}
	done := map[string]int{}
	for _, one := range reached.Done {
		if name := channelNames[one.What]; concerned[one.ID] && name != "" {
			channel := find(name)
			done[name]++
			channel.Detail = fmt.Sprintf("%s in SPIRE: %d", doneWord[one.What], done[name])
		}
	}
	for _, one := range reached.Open {
		if name := channelNames[one.What]; concerned[one.ID] && name != "" {
			channel := find(name)
			channel.State = "pending"
			channel.Detail = attestd.Excerpt(one.ID+": "+one.Detail, 200)
		}
	}
	return out
}

var doneWord = map[string]string{
	"ban": "agents banned", "unban": "agents let attest again", "hold": "entries held", "unhold": "entries let go",
}
