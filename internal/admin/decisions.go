package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/subject"
)

// Decisions are the records of decisions. They are asked for the tenants of whoever asks.
type Decisions interface {
	Find(ctx context.Context, id string, tenants []string) (journal.Record, error)
	List(ctx context.Context, query journal.Query) (journal.Page, error)
	Replay(record *journal.Record) (journal.Replayed, error)
	ReplayPage(ctx context.Context, query journal.Query) (journal.Run, error)
}

// decisionQuery are the parameters that select decisions.
var decisionQuery = append([]string{
	"action", "atlas", "decision", "enforcer", "oldest", "reason", "since", "subject", "until",
}, pageQuery...)

// mostReplayed is how many decisions one request has decided again: each costs what a decision does.
const mostReplayed = 200

// decisionRoutes are the requests about decisions.
func decisionRoutes() []route {
	const get = http.MethodGet
	return []route{
		{method: get, path: "decisions", action: "decision.ls", roles: readers, record: noted,
			query: decisionQuery, serve: (*server).decisions},
		{method: get, path: "decision", action: "decision.show", roles: readers, record: noted,
			query: []string{"id"}, serve: (*server).decision},
		{method: get, path: "decisions/replay", action: "decision.replay", roles: readers, record: noted,
			query: append([]string{"id"}, decisionQuery...), serve: (*server).replay},
	}
}

// records returns the records, where there are decisions.
func (s *server) records() (Decisions, error) {
	if s.config.Decisions == nil {
		return nil, edge.New(attestd.ClassConfig, "this attestd decides about nobody",
			"set decisions.http, decisions.unix or decisions.grpc").
			WithStatus(http.StatusNotFound, "Not found").Err()
	}
	return s.config.Decisions, nil
}

func (s *server) decisions(c *call) (any, error) {
	records, err := s.records()
	if err != nil {
		return nil, err
	}
	query, err := s.decisionFilter(c, 50)
	if err != nil {
		return nil, err
	}
	found, err := records.List(c, query)
	if err != nil {
		return nil, err
	}
	page := wire.Decisions{Schema: "attestd.decisions.v1", Decisions: []journal.Record{}}
	for _, one := range found.Records {
		if journal.Visible(&one, c.who.Tenants) {
			page.Decisions = append(page.Decisions, one)
		}
	}
	page.Next, err = s.places.Hide(found.Next)
	return page, err
}

func (s *server) decision(c *call) (any, error) {
	one, err := s.findDecision(c)
	if err != nil {
		return nil, err
	}
	return wire.Decisions{Schema: "attestd.decisions.v1", Decisions: []journal.Record{one}}, nil
}

// findDecision returns the one with the id of the query. The store is asked within the tenants of
// whoever asks; one that errs would show another tenant's.
func (s *server) findDecision(c *call) (journal.Record, error) {
	records, err := s.records()
	if err != nil {
		return journal.Record{}, err
	}
	id := c.query["id"]
	if id == "" {
		return journal.Record{}, malformed("the query parameter id is missing", "attestd decision ls lists decisions")
	}
	one, err := records.Find(c, id, slices.Clone(c.who.Tenants))
	if errors.Is(err, journal.ErrNone) || err == nil && !journal.Visible(&one, c.who.Tenants) {
		return journal.Record{}, notFound("decision")
	}
	if err != nil {
		return journal.Record{}, err
	}
	c.about.Target, c.about.Tenant = one.ID.String(), one.Tenant
	return one, nil
}

func (s *server) replay(c *call) (any, error) {
	records, err := s.records()
	if err != nil {
		return nil, err
	}
	answer := wire.Replayed{Schema: "attestd.replay.v1"}
	if _, single := c.query["id"]; single {
		one, err := s.findDecision(c)
		if err != nil {
			return nil, err
		}
		replayed, err := records.Replay(&one)
		if err != nil {
			return nil, err
		}
		answer.Changed = []journal.Replayed{}
		if replayed.Same {
			answer.Same = 1
		} else {
			answer.Different, answer.Changed = 1, append(answer.Changed, replayed)
		}
	} else {
		query, err := s.decisionFilter(c, mostReplayed)
		if err != nil {
			return nil, err
		}
		if query.Limit > mostReplayed {
			return nil, malformed("limit is too large for a replay", "ask for 200 at once, and go on behind them")
		}
		if answer.Run, err = records.ReplayPage(c, query); err != nil {
			return nil, err
		}
		if answer.Next, err = s.places.Hide(answer.Next); err != nil {
			return nil, err
		}
	}
	answer.Verdict = wire.Verdict(answer.Run)
	return answer, nil
}

// decisionFilter reads the parameters that select decisions.
func (s *server) decisionFilter(c *call, otherwise int) (query journal.Query, err error) {
	if query.Tenants, err = c.tenants(); err != nil {
		return query, err
	}
	if query.Limit, err = c.limit(otherwise); err != nil {
		return query, err
	}
	if query.After, err = s.places.Show(c.query["after"]); err != nil {
		return query, err
	}
	for name, into := range map[string]*time.Time{"since": &query.Since, "until": &query.Until} {
		text, given := c.query[name]
		if !given {
			continue
		}
		if *into, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return query, malformed(name+" is no time", "give it as in 2026-03-01T12:00:00Z")
		}
	}
	switch c.query["oldest"] {
	case "", "false":
	case "true":
		query.Oldest = true
	default:
		return query, malformed("oldest is not true or false", "leave it out, or mend it")
	}
	query.Decision = c.query["decision"]
	if query.Decision != "" && query.Decision != journal.Allow && query.Decision != journal.Deny {
		return query, malformed("the decision is unknown", "decisions are allow and deny")
	}
	query.Reason = decision.Code(c.query["reason"])
	if query.Reason != "" && decision.SpecOf(query.Reason).Code != query.Reason {
		return query, malformed("the reason is unknown", "attestd explain lists the codes")
	}
	query.Subject, query.ATLAS = subject.ID(c.query["subject"]), c.query["atlas"]
	query.Enforcer, query.Action = c.query["enforcer"], c.query["action"]
	return query, nil
}
