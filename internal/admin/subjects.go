package admin

import (
	"encoding/hex"
	"slices"
	"strconv"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

func grantEnd(now time.Time, seconds int) time.Time {
	return now.Add(time.Duration(seconds) * time.Second).UTC()
}

func (s *server) subjects(c *call) (any, error) {
	filter, err := c.filter()
	if err != nil {
		return nil, err
	}
	now := s.config.Now()
	switch c.query["overdue"] {
	case "", "false":
	case "true":
		filter.Overdue = now
	default:
		return nil, malformed("overdue is not true or false", "leave it out, or mend it")
	}
	found, next, err := s.config.Subjects.Subjects(c, filter)
	if err != nil {
		return nil, err
	}
	page := wire.Subjects{Schema: "attestd.subjects.v1", Subjects: []wire.Subject{}, Next: next}
	for _, one := range found {
		if c.who.Sees(one.Tenant) {
			page.Subjects = append(page.Subjects, s.shown(one, now))
		}
	}
	return page, nil
}

func (s *server) subject(c *call) (any, error) {
	one, err := s.findSubject(c, c.query["id"])
	if err != nil {
		return nil, err
	}
	c.about.Target, c.about.Tenant = string(one.ID), one.Tenant
	known, err := s.config.Subjects.Known(c, subject.Ask{Bars: one.Keys()})
	if err != nil {
		return nil, err
	}
	document := s.shown(one, s.config.Now())
	document.Schema = "attestd.subject.v1"
	for _, bar := range known.Bars {
		document.Bars = append(document.Bars, shownBar(bar, c.who.Sees(bar.Tenant)))
	}
	return document, nil
}

// shown returns the subject as it stands now: a bar on its hardware and a deadline that has passed are
// in its state, whether or not its row says so yet. The reasons are those that the risk is the sum of.
func (s *server) shown(one subject.Subject, now time.Time) wire.Subject {
	standing := s.config.Index.Check(one.ID, now)
	risk, reasons := one.RiskAt(now)
	document := wire.Subject{
		ID: one.ID, Tenant: one.Tenant, State: standing.State, Tier: one.TierAt(now), Risk: risk, Risks: reasons,
		Epoch: one.Epoch, Generation: one.Generation, Format: one.Format, Instance: one.Instance.Value,
		Boot: one.Boot, Host: one.Host, Ownership: one.Ownership, Signals: one.Signals,
		Appraisal: one.AppraisalID, FirstSeen: one.FirstSeenAt, EvidenceAt: one.EvidenceAt,
		ChangedAt: one.ChangedAt, DueAt: one.DueAt,
	}
	if one.Evidence != [32]byte{} {
		document.Evidence = hex.EncodeToString(one.Evidence[:])
	}
	if document.Signals == nil {
		document.Signals = []subject.Signal{}
	}
	return document
}

// shownBar leaves out who laid a bar, and why, where it is not the asker's tenant's: that a shared
// host is held they may know, since it holds their subject.
func shownBar(bar subject.Bar, own bool) wire.Bar {
	shown := wire.Bar{Key: bar.Key.String(), State: bar.State, Code: bar.Code, Automatic: bar.Automatic, At: bar.At}
	if own {
		shown.Reason, shown.Ticket, shown.By = bar.Text, bar.Ticket, bar.By
	}
	return shown
}

func (s *server) history(c *call) (any, error) {
	limit, err := c.limit(100)
	if err != nil {
		return nil, err
	}
	after, err := c.number("after", 0)
	if err != nil {
		return nil, err
	}
	one, err := s.findSubject(c, c.query["id"])
	if err != nil {
		return nil, err
	}
	c.about.Target, c.about.Tenant = string(one.ID), one.Tenant
	events, more, err := s.events(c, one.ID, after, limit)
	if err != nil {
		return nil, err
	}
	page := wire.History{Schema: "attestd.history.v1", Events: []wire.Event{}}
	if more {
		page.Next = strconv.FormatInt(events[limit-1].Number, 10)
	}
	for _, event := range events {
		page.Events = append(page.Events, wire.Event{
			At: event.At, Kind: event.Kind, From: event.From, To: event.To, Risk: event.Risk,
			Epoch: event.Epoch, Actor: event.Actor, Detail: event.Detail, Appraisal: event.AppraisalID,
		})
	}
	return page, nil
}

// events returns a page of the events that the asker may see, and whether there are more of those. A
// subject can have been another tenant's before: that there are events of then is not told either.
func (s *server) events(
	c *call, id subject.ID, after int64, limit int,
) (seen []subject.Event, more bool, err error) {
	for {
		events, err := s.config.Subjects.History(c, id, after, maxPage)
		if err != nil {
			return nil, false, err
		}
		for _, event := range events {
			after = event.Number
			if c.who.Sees(event.Tenant) {
				seen = append(seen, event)
			}
		}
		if len(seen) > limit {
			return seen[:limit], true, nil
		}
		if len(events) < maxPage {
			return seen, false, nil
		}
	}
}

func (s *server) why(c *call) (any, error) {
	target := c.query["target"]
	if target == "" {
		return nil, malformed("the query parameter target is missing", "give a SPIFFE ID, or the beginning of an "+
			"instance's value")
	}
	c.about.Target = target
	return s.config.Explainer.Why(c, c.who, target)
}

func (s *server) enrolments(c *call) (any, error) {
	filter, err := c.filter()
	if err != nil {
		return nil, err
	}
	page, err := s.config.Enrolments.List(c, c.who, filter)
	if err != nil {
		return nil, err
	}
	page.Schema = "attestd.enrolments.v1"
	page.Enrolments = slices.DeleteFunc(page.Enrolments, func(one subject.Ownership) bool {
		return !c.who.Sees(one.Tenant)
	})
	if page.Enrolments == nil {
		page.Enrolments = []subject.Ownership{}
	}
	c.uncount(page.Enrolments)
	return page, nil
}

// uncount leaves out the generations of ownerships, which count the commits of all tenants: from one
// look to the next they would tell how much the others do.
func (c *call) uncount(list []subject.Ownership) {
	if c.who.Sees(operator.AllTenants) {
		return
	}
	for index := range list {
		list[index].Generation = 0
	}
}

func (s *server) importList(c *call) (any, error) {
	ask, err := decode[wire.Import](c)
	if err != nil {
		return nil, err
	}
	err = demandPlain(maxText, map[string]string{"kind": ask.Kind, "tenant": ask.Tenant, "source": ask.Source})
	if err != nil {
		return nil, err
	}
	c.about.Target, c.about.Tenant, c.dry = ask.Source, ask.Tenant, ask.DryRun
	if err := c.demandTenant(ask.Tenant); err != nil {
		return nil, err
	}
	done, err := s.config.Enrolments.Import(c, c.who, ask)
	c.uncount(done.Entries)
	if err == nil && !ask.DryRun && len(done.Problems) > 0 {
		// Nothing was enrolled, so whoever enrols wrote nothing down. What is wrong can be that a key is
		// not theirs to enrol: who asks that of whole lists leaves a trace.
		record := s.entry(c, "refused")
		record.Class = string(attestd.ClassMalformed)
		s.config.Audit.Note(record)
	}
	return done, err
}

// demandTenant refuses a tenant that is not the asker's as one that is not there.
func (c *call) demandTenant(tenant string) error {
	if tenant == "" || tenant == "*" || !c.who.Sees(tenant) {
		c.about.Tenant = ""
		return notFound("tenant")
	}
	return nil
}

func (s *server) approve(c *call) (any, error) { return s.decide(c) }
func (s *server) deny(c *call) (any, error)    { return s.decide(c) }
func (s *server) remove(c *call) (any, error)  { return s.decide(c) }

func (s *server) decide(c *call) (any, error) {
	ask, err := decode[wire.Decide](c)
	if err != nil {
		return nil, err
	}
	err = demandPlain(maxText, map[string]string{
		"key": ask.Key, "tenant": ask.Tenant, "label": ask.Label, "reason": ask.Reason,
	})
	if err != nil {
		return nil, err
	}
	c.about.Target, c.about.Reason, c.dry = ask.Key, ask.Reason, ask.DryRun
	if ask.Tenant != "" {
		if err := c.demandTenant(ask.Tenant); err != nil {
			return nil, err
		}
		c.about.Tenant = ask.Tenant
	}
	decide := s.config.Enrolments.Remove
	switch c.route.action {
	case "enroll.approve":
		decide = s.config.Enrolments.Approve
	case "enroll.deny":
		decide = s.config.Enrolments.Deny
	}
	done, err := decide(c, c.who, ask)
	one := []subject.Ownership{done.Enrolment}
	c.uncount(one)
	done.Enrolment = one[0]
	return done, err
}

func (s *server) enrolmentToken(c *call) (any, error) {
	ask, err := decode[wire.TokenRequest](c)
	if err != nil {
		return nil, err
	}
	if err := demandPlain(maxText, map[string]string{"tenant": ask.Tenant, "label": ask.Label}); err != nil {
		return nil, err
	}
	if err := c.demandTenant(ask.Tenant); err != nil {
		return nil, err
	}
	c.about.Tenant = ask.Tenant
	for _, format := range ask.Formats {
		if !slices.Contains(attestd.Formats(), attestd.Format(format)) {
			return nil, malformed("a format is unknown", "name formats of attestd")
		}
	}
	return s.config.Enrolments.NewToken(c, c.who, ask)
}
