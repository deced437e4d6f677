package admin

import (
	"context"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/registry/live"
)

// maxText bounds what a person writes into an order.
const maxText = 1 << 10

// orderTime bounds how long somebody waits for an order. What hangs is said to, and --direct goes round
// it.
const orderTime = 20 * time.Second

// whole returns a context for what must not end in the middle because its asker hangs up.
func (c *call) whole() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c), orderTime)
}

type carryOut func(ctx context.Context, who operator.Principal, order wire.Order) (wire.Receipt, error)

func (s *server) quarantine(c *call) (any, error) { return s.order(c, s.config.Orders.Quarantine) }
func (s *server) release(c *call) (any, error)    { return s.order(c, s.config.Orders.Release) }
func (s *server) revoke(c *call) (any, error)     { return s.order(c, s.config.Orders.Revoke) }

func (s *server) order(c *call, carryOut carryOut) (any, error) {
	order, err := decode[wire.Order](c)
	if err != nil {
		return nil, err
	}
	err = demandPlain(maxText, map[string]string{
		"target": order.Target, "reason": order.Reason, "ticket": order.Ticket, "reimaged": order.Reimaged,
		"tenant": order.Tenant, "scope": order.Scope,
	})
	if err != nil {
		return nil, err
	}
	c.about.Target, c.about.Reason, c.about.Ticket = order.Target, order.Reason, order.Ticket
	c.dry = order.DryRun
	switch {
	case order.Target == "":
		return nil, malformed("the order has no target", "name a subject, an instance or a host")
	case order.Reason == "":
		return nil, malformed("the order has no reason", "say why: it goes into the audit log")
	case order.Direct && c.route.action == "release":
		return nil, malformed("a release is never direct", "leave direct out; a release waits for store and audit")
	case order.Tenant != "" && !c.who.Sees(order.Tenant):
		return nil, notFound("tenant")
	}
	ctx, stop := c.whole()
	defer stop()
	receipt, err := carryOut(ctx, c.who, order)
	if err == nil {
		s.channels.took(c.who, receipt)
	}
	return receipt, err
}

// maxGrant is the longest life of what can be issued on a grant, in seconds: a day.
const maxGrant = 24 * 60 * 60

func (s *server) grant(c *call) (any, error) {
	ask, err := decode[wire.GrantRequest](c)
	if err != nil {
		return nil, err
	}
	if err := demandPlain(maxValue, map[string]string{"id": string(ask.ID), "for": ask.For}); err != nil {
		return nil, err
	}
	c.about.Target = string(ask.ID)
	switch {
	case ask.Seconds < 1 || ask.Seconds > maxGrant:
		return nil, malformed("seconds is not a number from 1 to 86400", "say how long what is issued can live")
	case ask.For == "" || len(ask.For) > 64:
		return nil, malformed("for does not say what is issued", `as in "x509-svid"`)
	}
	// An identity that leaves no trace is not given.
	if err := s.demandLog(); err != nil {
		return nil, err
	}
	now := s.config.Now()
	if before := s.config.Index.Check(ask.ID, now); !c.who.Sees(before.Tenant) {
		return nil, unseen(ask, before)
	}
	given, err := s.config.Index.Grant(ask.ID, ask.Seconds, ask.For, now)
	if err != nil {
		return nil, err
	}
	if !c.who.Sees(given.Tenant) { // it went to another tenant in between; the grant was counted
		return nil, unseen(ask, given)
	}
	c.about.Tenant = given.Tenant
	return wire.Grant{
		Schema: "attestd.grant.v1", ID: given.ID, Tenant: given.Tenant, State: given.State, Tier: given.Tier,
		Risk: given.Risk, Epoch: given.Epoch, Until: grantEnd(now, ask.Seconds),
	}, nil
}

// unseen refuses a grant for what is nobody's or another tenant's, in the words of the index for a
// name that it does not know; where that name itself is held and nobody's, the state is said.
func unseen(ask wire.GrantRequest, standing live.Standing) error {
	refused := &live.Refused{Standing: live.Standing{ID: ask.ID}, Kind: attestd.ClassPolicyDeny}
	if !standing.Known && standing.State != attestd.StateUnknown {
		refused.Standing.State, refused.Kind = standing.State, attestd.ClassQuarantined
		if standing.State == attestd.StateRevoked {
			refused.Kind = attestd.ClassRevokedSubject
		}
	}
	return refused
}
