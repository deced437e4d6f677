package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/attestd/attestd/internal/audit"
)

const (
	insertLeaf  = `INSERT INTO audit_leaves (number, leaf) VALUES (?, ?)`
	insertTile  = `INSERT INTO audit_tiles (level, number, hashes) VALUES (?, ?, ?)`
	selectLeafs = `SELECT leaf FROM audit_leaves WHERE number >= ? ORDER BY number LIMIT ?`
	selectTile  = `SELECT hashes FROM audit_tiles WHERE level = ? AND number = ?`
)

// record takes records up in the log, in the transaction of what they record.
func (w *writer) record(ctx context.Context, records []audit.Record) error {
	for _, record := range records {
		entry, err := w.growing.Append(record)
		if err != nil {
			return err
		}
		if _, err := w.insertLeaf.ExecContext(ctx, entry.Index, entry.Leaf); err != nil {
			return err
		}
		for _, tile := range entry.Tiles {
			if _, err := w.conn.ExecContext(ctx, insertTile, tile.Level, tile.Number, tile.Hashes); err != nil {
				return err
			}
		}
	}
	return nil
}

// auditRows reads the log from a connection or a database.
type auditRows struct {
	from interface {
		querier
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	}
}

func (r auditRows) AuditLeaves(ctx context.Context, start int64, limit int) (list [][]byte, err error) {
	rows, err := r.from.QueryContext(ctx, selectLeafs, start, limit)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var leaf []byte
		if err := rows.Scan(&leaf); err != nil {
			return nil, err
		}
		list = append(list, leaf)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("the audit log has no leaf %d", start)
	}
	return list, nil
}

func (r auditRows) AuditTile(ctx context.Context, level int, number int64) ([]byte, error) {
	var hashes []byte
	err := r.from.QueryRowContext(ctx, selectTile, level, number).Scan(&hashes)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("the audit log has no tile %d of level %d", number, level)
	}
	return hashes, err
}

// size returns the number of leaves. It counts by the highest number, and refuses a log with a gap.
func (r auditRows) size(ctx context.Context) (size int64, err error) {
	var newest sql.NullInt64
	if err := r.from.QueryRowContext(ctx, "SELECT max(number) FROM audit_leaves").Scan(&newest); err != nil {
		return 0, err
	}
	if !newest.Valid {
		return 0, nil
	}
	return newest.Int64 + 1, nil
}

// resumeLog reads the growing edge of the log anew.
func (w *writer) resumeLog(ctx context.Context) error {
	rows := auditRows{w.conn}
	size, err := rows.size(ctx)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	tree, err := audit.Resume(ctx, rows, size)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	w.tree, w.growing = tree, tree.Clone()
	return nil
}

// Audit takes records up that come with no other change, as essential as a hold.
func (s *Store) Audit(ctx context.Context, records []audit.Record) error {
	if len(records) > maxRows {
		return malformed("%d records at once, want at most %d", len(records), maxRows)
	}
	for _, record := range records {
		if _, err := audit.Encode(record); err != nil {
			return malformed("audit: %w", err)
		}
	}
	return unavailable(ctx, s.writer.doAs(ctx, essential, func(ctx context.Context, w *writer) error {
		return w.record(ctx, records)
	}))
}

// AuditTree returns the log's tree as it was last committed. It is not to be appended to.
func (s *Store) AuditTree() *audit.Tree { return s.writer.committed.Load() }

// AuditLeaves returns the leaves of the log from start on, at least one and at most limit. With
// [Store.AuditTile] and [Store.AuditSize] it makes the store an [audit.Store].
func (s *Store) AuditLeaves(ctx context.Context, start int64, limit int) ([][]byte, error) {
	leaves, err := auditRows{s.reading}.AuditLeaves(ctx, start, min(limit, maxPage))
	return leaves, unavailable(ctx, err)
}

// AuditTile returns the hashes of a full tile.
func (s *Store) AuditTile(ctx context.Context, level int, number int64) ([]byte, error) {
	hashes, err := auditRows{s.reading}.AuditTile(ctx, level, number)
	return hashes, unavailable(ctx, err)
}

// AuditEntries returns at most limit leaves from start on, none behind the end, and the size of the
// log, which only grows.
func (s *Store) AuditEntries(ctx context.Context, start int64, limit int) (leaves [][]byte, size int64, err error) {
	size = s.AuditTree().Size()
	if start < 0 || limit < 1 || limit > maxPage {
		return nil, size, malformed("audit entries from %d, %d of them, want 1 to %d", start, limit, maxPage)
	}
	if start >= size {
		return nil, size, nil
	}
	leaves, err = s.AuditLeaves(ctx, start, int(min(int64(limit), size-start)))
	return leaves, size, err
}

// AuditSize returns the number of leaves that are durable.
func (s *Store) AuditSize(context.Context) (int64, error) { return s.AuditTree().Size(), nil }
