package admin

import (
	"context"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
)

// Ledger is the [Audit] over the log of the registry: the keeper writes it, the log reads it.
type Ledger struct {
	*audit.Keeper
	Log *audit.Log
}

// Entries implements [Audit].
func (l Ledger) Entries(ctx context.Context, start int64, limit int) (wire.AuditEntries, error) {
	page, err := l.Log.Entries(ctx, start, limit)
	if err != nil {
		return wire.AuditEntries{}, err
	}
	return wire.AuditEntries{
		Schema: "attestd.audit-entries.v1", Start: page.Start, Leaves: append([][]byte{}, page.Leaves...),
		Records: append([]audit.Record{}, page.Records...), Size: page.Size, Checkpoint: page.Checkpoint,
		Key: l.Log.Public(),
	}, nil
}
