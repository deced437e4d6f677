package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/nhi/desk"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/strict"
)

// Inventory looks after the records of identities. It writes its own entries of the audit log for
// what it has done, in the transaction that does it.
type Inventory interface {
	List(ctx context.Context, who operator.Principal, filter nhi.Filter) (wire.Records, error)
	// Find returns [desk.ErrNone] for a record that is not there and for another tenant's.
	Find(ctx context.Context, who operator.Principal, id string) (wire.Record, error)
	Import(ctx context.Context, who operator.Principal, ask wire.RecordsImport) (wire.RecordsChanged, error)
	Retire(ctx context.Context, who operator.Principal, ask wire.RecordOrder) (wire.RecordsChanged, error)
	Remove(ctx context.Context, who operator.Principal, ask wire.RecordOrder) (wire.RecordsChanged, error)
	Lint(ctx context.Context, who operator.Principal, tenants []string) (wire.InventoryLint, error)
	Report(ctx context.Context, who operator.Principal, tenants []string) (nhi.Report, error)
}

// recordRoutes are the requests about the inventory.
func recordRoutes() []route {
	const get, post = http.MethodGet, http.MethodPost
	return []route{
		{method: get, path: "records", action: "subject.records", roles: readers, record: noted,
			query: append([]string{"text"}, pageQuery...), serve: (*server).inventory},
		{method: get, path: "record", action: "subject.record", roles: readers, record: noted,
			query: []string{"id"}, serve: (*server).inventoryRecord},
		{method: post, path: "records/import", action: "subject.import", roles: runners, record: byDoer,
			body: policyLimit, serve: (*server).importRecords},
		{method: post, path: "records/retire", action: "subject.retire", roles: runners, record: byDoer,
			body: orderLimit, serve: (*server).retireRecord},
		{method: post, path: "records/remove", action: "subject.remove", roles: runners, record: byDoer,
			body: orderLimit, serve: (*server).removeRecord},
		{method: get, path: "records/lint", action: "subject.lint", roles: readers, record: noted,
			query: []string{"tenant"}, serve: (*server).lintRecords},
		{method: get, path: "records/report", action: "subject.report", roles: readers, record: noted,
			query: []string{"tenant"}, serve: (*server).reportRecords},
	}
}

// desk returns the inventory, where there is one.
func (s *server) desk() (Inventory, error) {
	if s.config.Inventory == nil {
		return nil, edge.New(attestd.ClassConfig, "this attestd keeps no inventory", "attestd doctor").
			WithStatus(http.StatusNotFound, "Not found").Err()
	}
	return s.config.Inventory, nil
}

func (s *server) inventory(c *call) (any, error) {
	inventory, err := s.desk()
	if err != nil {
		return nil, err
	}
	filter := nhi.Filter{Text: c.query["text"], After: c.query["after"]}
	if filter.Tenants, err = c.tenants(); err != nil {
		return nil, err
	}
	if filter.Limit, err = c.limit(50); err != nil {
		return nil, err
	}
	page, err := inventory.List(c, c.who, filter)
	if err != nil {
		return nil, err
	}
	// The store has been told; one that errs here would show another tenant's record.
	kept := []nhi.Record{}
	for _, one := range page.Records {
		if s.mayRead(c, one.Tenant) {
			kept = append(kept, one)
		}
	}
	page.Records = kept
	return page, nil
}

// mayRead reports whether the asker may see a record of that tenant; one of nobody is for those who
// see all.
func (s *server) mayRead(c *call, tenant string) bool {
	return c.who.Sees(operator.AllTenants) || tenant != "" && c.who.Sees(tenant)
}

func (s *server) inventoryRecord(c *call) (any, error) {
	inventory, err := s.desk()
	if err != nil {
		return nil, err
	}
	id := c.query["id"]
	if id == "" {
		return nil, malformed("the query parameter id is missing", "attestd subject records lists the ids")
	}
	one, err := inventory.Find(c, c.who, id)
	if errors.Is(err, desk.ErrNone) || err == nil && !s.mayRead(c, one.Record.Tenant) {
		return nil, notFound("record")
	}
	if err != nil {
		return nil, err
	}
	c.about.Target, c.about.Tenant = one.Record.ID, one.Record.Tenant
	return one, nil
}

// recordDepth is the nesting of an import: an object with a list of objects with lists.
const recordDepth = 4

func (s *server) importRecords(c *call) (any, error) {
	inventory, err := s.desk()
	if err != nil {
		return nil, err
	}
	var ask wire.RecordsImport
	limits := strict.JSONLimits{Bytes: c.route.body, Depth: recordDepth}
	if err := strict.DecodeJSON(c.body, limits, &ask); err != nil {
		return nil, malformed(err.Error(), "compare the body with the reference; every key is checked")
	}
	err = demandPlain(maxText, map[string]string{"tenant": ask.Tenant, "source": ask.Source})
	if err != nil {
		return nil, err
	}
	for i := range ask.Records {
		if one := &ask.Records[i]; one.Generation != 0 || !one.Updated.IsZero() {
			return nil, malformed(fmt.Sprintf("record %d says when it was written", i),
				"leave out updated and generation")
		}
	}
	c.about.Target, c.dry = ask.Source, ask.DryRun
	if ask.Tenant != "" {
		if err := c.demandTenant(ask.Tenant); err != nil {
			return nil, err
		}
		c.about.Tenant = ask.Tenant
	}
	ctx, stop := c.whole()
	defer stop()
	done, err := inventory.Import(ctx, c.who, ask)
	if err == nil && !ask.DryRun && len(done.Problems) > 0 {
		// Nothing was written. What is wrong can be that a record is another tenant's: who asks
		// that of whole lists leaves a trace.
		record := s.entry(c, "refused")
		record.Class = string(attestd.ClassMalformed)
		s.config.Audit.Note(record)
	}
	return done, err
}

func (s *server) retireRecord(c *call) (any, error) { return s.orderRecord(c, Inventory.Retire) }
func (s *server) removeRecord(c *call) (any, error) { return s.orderRecord(c, Inventory.Remove) }

func (s *server) orderRecord(c *call, carryOut func(
	Inventory, context.Context, operator.Principal, wire.RecordOrder,
) (wire.RecordsChanged, error)) (any, error) {
	inventory, err := s.desk()
	if err != nil {
		return nil, err
	}
	ask, err := decode[wire.RecordOrder](c)
	if err != nil {
		return nil, err
	}
	if err := demandPlain(2*maxText, map[string]string{"id": ask.ID, "reason": ask.Reason}); err != nil {
		return nil, err
	}
	if ask.ID == "" {
		return nil, malformed("the id is missing", "attestd subject records lists the ids")
	}
	c.about.Target, c.about.Reason, c.dry = ask.ID, ask.Reason, ask.DryRun
	ctx, stop := c.whole()
	defer stop()
	done, err := carryOut(inventory, ctx, c.who, ask)
	if errors.Is(err, desk.ErrNone) {
		return nil, notFound("record")
	}
	return done, err
}

func (s *server) lintRecords(c *call) (any, error) {
	inventory, err := s.desk()
	if err != nil {
		return nil, err
	}
	tenants, err := c.tenants()
	if err != nil {
		return nil, err
	}
	return inventory.Lint(c, c.who, tenants)
}

func (s *server) reportRecords(c *call) (any, error) {
	inventory, err := s.desk()
	if err != nil {
		return nil, err
	}
	tenants, err := c.tenants()
	if err != nil {
		return nil, err
	}
	return inventory.Report(c, c.who, tenants)
}
