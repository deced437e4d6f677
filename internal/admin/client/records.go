package client

import (
	"context"
	"net/url"
	"strconv"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/nhi"
)

const changedSchema = "attestd.records-changed.v1"

// RecordQuery selects records of the inventory. Empty fields select all.
type RecordQuery struct {
	Tenant, Text string
	// After is Next of the page before, Limit its length; 0 leaves it to the server.
	After string
	Limit int
}

func (q RecordQuery) values() url.Values {
	out := url.Values{}
	for name, value := range map[string]string{"tenant": q.Tenant, "text": q.Text, "after": q.After} {
		if value != "" {
			out.Set(name, value)
		}
	}
	if q.Limit > 0 {
		out.Set("limit", strconv.Itoa(q.Limit))
	}
	return out
}

// Records lists one page of the inventory.
func (c *Client) Records(ctx context.Context, query RecordQuery) (wire.Records, error) {
	return get[wire.Records](ctx, c, "records", query.values(), "attestd.records.v1")
}

// Record returns the one with exactly that id, with how its identity stands.
func (c *Client) Record(ctx context.Context, id string) (wire.Record, error) {
	return get[wire.Record](ctx, c, "record", url.Values{"id": {id}}, "attestd.record.v1")
}

// ImportRecords has records taken up.
func (c *Client) ImportRecords(ctx context.Context, ask wire.RecordsImport) (wire.RecordsChanged, error) {
	return post[wire.RecordsChanged](ctx, c, "records/import", ask, changedSchema)
}

// RetireRecord says that an identity is in use no longer.
func (c *Client) RetireRecord(ctx context.Context, ask wire.RecordOrder) (wire.RecordsChanged, error) {
	return post[wire.RecordsChanged](ctx, c, "records/retire", ask, changedSchema)
}

// RemoveRecord takes a record out of the inventory.
func (c *Client) RemoveRecord(ctx context.Context, ask wire.RecordOrder) (wire.RecordsChanged, error) {
	return post[wire.RecordsChanged](ctx, c, "records/remove", ask, changedSchema)
}

// LintRecords returns what is wrong with the inventory.
func (c *Client) LintRecords(ctx context.Context, tenant string) (wire.InventoryLint, error) {
	return get[wire.InventoryLint](ctx, c, "records/lint", RecordQuery{Tenant: tenant}.values(),
		"attestd.inventory-lint.v1")
}

// ReportRecords returns what the inventory comes to.
func (c *Client) ReportRecords(ctx context.Context, tenant string) (nhi.Report, error) {
	return get[nhi.Report](ctx, c, "records/report", RecordQuery{Tenant: tenant}.values(), nhi.ReportSchema)
}
