package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/problem"
)

func (c *call) action() string {
	if c.route == nil {
		return "admin"
	}
	return c.route.action
}

// entry returns the entry of the audit log for the call. What was sent is in it in so far as the part
// that carries it out would write it: a target, a reason, a ticket; never a body.
func (s *server) entry(c *call, outcome string) audit.Record {
	record := c.about
	record.At, record.Action, record.Outcome = s.config.Now(), c.action(), outcome
	record.Actor, record.Via = c.who.Name, c.who.Via
	if record.Actor == "" {
		record.Actor = "source:" + c.source
	}
	if record.Tenant == "" {
		record.Tenant = operator.AllTenants
		if len(c.who.Tenants) == 1 {
			record.Tenant = c.who.Tenants[0]
		}
	}
	for _, text := range []*string{&record.Target, &record.Reason, &record.Ticket, &record.Tenant} {
		*text = attestd.Excerpt(*text, 512)
	}
	return record
}

// demandLog refuses what must leave a trace where none can be left.
func (s *server) demandLog() error {
	if err := s.config.Audit.Ready(); err != nil {
		return &attestd.UndecidedError{
			Check: "audit/ready", Class: attestd.ClassStoreUnavailable, Got: "an audit log that takes no entries",
			Want: "one that does", Hint: "attestd doctor on attestd's machine", Err: err,
		}
	}
	return nil
}

// eagerTime is how long what helps in an outage waits for a log that hangs.
const eagerTime = 2 * time.Second

// trace writes down a call that was carried out, before it is answered.
func (s *server) trace(c *call) error {
	outcome := "done"
	if c.dry {
		outcome = "dry-run"
	}
	switch {
	case c.route.record == recorded:
		if err := s.config.Audit.Record(c, s.entry(c, outcome)); err != nil {
			return &attestd.UndecidedError{
				Check: "audit/written", Class: attestd.ClassStoreUnavailable,
				Got: "an audit log that takes no entries", Want: "one for this request",
				Hint: "attestd doctor on attestd's machine", Err: err,
			}
		}
	case c.route.record == eager:
		short, stop := context.WithTimeout(c, eagerTime)
		defer stop()
		if err := s.config.Audit.Record(short, s.entry(c, outcome)); err != nil {
			s.config.Audit.Note(s.entry(c, outcome))
		}
	case c.route.record == noted, c.dry:
		s.config.Audit.Note(s.entry(c, outcome))
	}
	return nil
}

// noteRefused writes down a call that was refused or failed.
func (s *server) noteRefused(c *call, p problem.Problem) {
	outcome := "refused"
	if p.Status >= http.StatusInternalServerError {
		outcome = "failed"
	}
	record := s.entry(c, outcome)
	record.Class = string(p.Class)
	s.config.Audit.Note(record)
}
