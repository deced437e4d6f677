package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/operator"
)

const (
	selectOperator = `SELECT document, generation FROM operators `
	lookAtOperator = `SELECT generation FROM operators WHERE name = ?`
	insertOperator = `INSERT INTO operators (name, generation, document) VALUES (?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET generation = excluded.generation, document = excluded.document`
)

func scanOperator(row scanner) (operator.Record, error) {
	var document []byte
	var generation uint64
	if err := row.Scan(&document, &generation); err != nil {
		return operator.Record{}, err
	}
	var record operator.Record
	if err := json.Unmarshal(document, &record); err != nil {
		return operator.Record{}, fmt.Errorf("operator: %w", err)
	}
	record.Generation = generation
	return record, nil
}

// Operator returns the record of exactly that name, also a revoked one, and whether there is one.
func (s *Store) Operator(ctx context.Context, name string) (operator.Record, bool, error) {
	record, err := scanOperator(s.reading.QueryRowContext(ctx, selectOperator+"WHERE name = ?", name))
	if errors.Is(err, sql.ErrNoRows) {
		return operator.Record{}, false, nil
	}
	return record, err == nil, unavailable(ctx, err)
}

// Operators returns all records in the order of their names.
func (s *Store) Operators(ctx context.Context) (list []operator.Record, err error) {
	rows, err := s.reading.QueryContext(ctx, selectOperator+"ORDER BY name")
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		record, err := scanOperator(rows)
		if err != nil {
			return nil, unavailable(ctx, err)
		}
		list = append(list, record)
	}
	if err := rows.Err(); err != nil {
		return nil, unavailable(ctx, err)
	}
	return list, nil
}

// PutOperator carries a change out, with its entry of the audit log. The end of an operator is written
// from the space that is set aside, as a hold is.
//
// Errors: [operator.ErrMoved] where the record changed meanwhile.
func (s *Store) PutOperator(ctx context.Context, change operator.Change) error {
	if change.Next.Name == "" {
		return malformed("an operator without a name")
	}
	if err := demandTexts(maxWord, change.Next.Name, change.Next.By); err != nil {
		return err
	}
	record := audit.Record{
		At: change.At, Actor: change.Actor, Via: change.Via, Tenant: operator.AllTenants,
		Action: change.Action, Target: change.Next.Name, Outcome: "done", Detail: change.Detail,
	}
	if _, err := audit.Encode(record); err != nil {
		return malformed("audit: %w", err)
	}
	next := change.Next
	next.Generation = change.Expect + 1
	document, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("operator: %w", err)
	}
	put := func(ctx context.Context, w *writer) error {
		var generation uint64
		err := w.conn.QueryRowContext(ctx, lookAtOperator, next.Name).Scan(&generation)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if generation != change.Expect {
			return refusal{operator.ErrMoved}
		}
		if err := demandOne(w.conn.ExecContext(ctx, insertOperator, next.Name,
			int64(next.Generation), document)); err != nil { //nolint:gosec // counts up from 1
			return err
		}
		return w.record(ctx, []audit.Record{record})
	}
	return unavailable(ctx, s.writer.doAs(ctx, priority(!next.RevokedAt.IsZero()), put))
}
