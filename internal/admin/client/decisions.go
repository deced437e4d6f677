package client

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
)

// DecisionQuery selects decisions. Empty fields select all.
type DecisionQuery struct {
	Tenant, Decision, Reason, Subject, Enforcer, Action, ATLAS string
	Since, Until                                               time.Time
	// Oldest lists the oldest first.
	Oldest bool
	// After is Next of the page before, Limit its length; 0 leaves it to the server.
	After string
	Limit int
}

func (q DecisionQuery) values() url.Values {
	out := url.Values{}
	for name, value := range map[string]string{
		"tenant": q.Tenant, "decision": q.Decision, "reason": q.Reason, "subject": q.Subject,
		"enforcer": q.Enforcer, "action": q.Action, "atlas": q.ATLAS, "after": q.After,
	} {
		if value != "" {
			out.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !at.IsZero() {
			out.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	if q.Oldest {
		out.Set("oldest", "true")
	}
	if q.Limit > 0 {
		out.Set("limit", strconv.Itoa(q.Limit))
	}
	return out
}

// Decisions lists one page.
func (c *Client) Decisions(ctx context.Context, query DecisionQuery) (wire.Decisions, error) {
	return get[wire.Decisions](ctx, c, "decisions", query.values(), "attestd.decisions.v1")
}

// Decision returns the one with an id, or the unique beginning of one.
func (c *Client) Decision(ctx context.Context, id string) (wire.Decisions, error) {
	return get[wire.Decisions](ctx, c, "decision", url.Values{"id": {id}}, "attestd.decisions.v1")
}

// Replay decides again about the one with an id.
func (c *Client) Replay(ctx context.Context, id string) (wire.Replayed, error) {
	return get[wire.Replayed](ctx, c, "decisions/replay", url.Values{"id": {id}}, "attestd.replay.v1")
}

// ReplayAll decides again about a page of decisions.
func (c *Client) ReplayAll(ctx context.Context, query DecisionQuery) (wire.Replayed, error) {
	return get[wire.Replayed](ctx, c, "decisions/replay", query.values(), "attestd.replay.v1")
}
