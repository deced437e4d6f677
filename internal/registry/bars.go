package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/attestd/attestd/internal/subject"
)

const (
	barColumns = `kind, value, state, subject, tenant, code, words, ticket, laid_by, automatic,
		laid_at, boot, generation`
	selectBar = `SELECT ` + barColumns + ` FROM bars `
	lookAtBar = selectBar + `WHERE kind = ? AND value = ?`
	insertBar = `INSERT INTO bars (` + barColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (kind, value) DO UPDATE SET state = excluded.state, subject = excluded.subject,
		tenant = excluded.tenant, code = excluded.code, words = excluded.words,
		ticket = excluded.ticket, laid_by = excluded.laid_by, automatic = excluded.automatic,
		laid_at = excluded.laid_at, boot = excluded.boot, generation = excluded.generation`
	deleteBar = `DELETE FROM bars WHERE kind = ? AND value = ?`
)

func scanBar(row scanner) (subject.Bar, error) {
	var bar subject.Bar
	var at int64
	err := row.Scan(&bar.Key.Kind, &bar.Key.Value, &bar.State, &bar.Subject, &bar.Tenant, &bar.Code,
		&bar.Text, &bar.Ticket, &bar.By, &bar.Automatic, &at, &bar.Boot, &bar.Generation)
	if err != nil {
		return subject.Bar{}, err
	}
	bar.At = moment(at)
	return bar, nil
}

// bar returns the bar on a key as the running transaction has it.
func (w *writer) bar(ctx context.Context, key subject.Key) (subject.Bar, bool, error) {
	bar, err := scanBar(w.lookBar.QueryRowContext(ctx, key.Kind, key.Value))
	if errors.Is(err, sql.ErrNoRows) {
		return subject.Bar{}, false, nil
	}
	return bar, err == nil, err
}

func (w *writer) putBar(ctx context.Context, one subject.BarWrite) error {
	if one.Next == nil {
		if err := demandOne(w.deleteBar.ExecContext(ctx, one.Key.Kind, one.Key.Value)); err != nil {
			return err
		}
		delete(w.barred, one.Key)
		w.made.bars = append(w.made.bars, one)
		return nil
	}
	bar := *one.Next
	bar.Generation = w.number()
	err := demandOne(w.insertBar.ExecContext(ctx, bar.Key.Kind, bar.Key.Value, int64(bar.State),
		string(bar.Subject), bar.Tenant, string(bar.Code), bar.Text, bar.Ticket, bar.By, bar.Automatic,
		stamp(bar.At), bar.Boot, int64(bar.Generation))) //nolint:gosec // a count of commits
	if err != nil {
		return err
	}
	w.made.bars = append(w.made.bars, subject.BarWrite{Key: one.Key, Expect: one.Expect, Next: &bar})
	w.barred[one.Key] = true
	w.made.holds = true
	return nil
}

// Bars returns the page of bars that the filter selects by tenant, state and text, in the order of
// their keys, and After of the next page. Bars on what tenants share are of tenant "*" and are seen
// by those alone who see all.
func (s *Store) Bars(ctx context.Context, filter subject.Filter) (list []subject.Bar, next string, err error) {
	query, err := selectBy(filter)
	if err != nil {
		return nil, "", err
	}
	query.states("state", filter.State)
	query.part([]string{"value", "subject"}, filter.Text)
	query.after(filter.After)
	list, err = listOf(ctx, s.reading, query, selectBar, "kind, value", scanBar)
	if err == nil && len(list) > filter.Limit {
		list = list[:filter.Limit]
		next = list[len(list)-1].Key.String()
	}
	return list, next, err
}

// rereadBars reads which keys are held.
func (w *writer) rereadBars(ctx context.Context) error {
	rows, err := w.conn.QueryContext(ctx, "SELECT kind, value FROM bars")
	if err != nil {
		return fmt.Errorf("read holds: %w", err)
	}
	defer func() { _ = rows.Close() }()
	barred := map[subject.Key]bool{}
	for rows.Next() {
		var key subject.Key
		if err := rows.Scan(&key.Kind, &key.Value); err != nil {
			return fmt.Errorf("read holds: %w", err)
		}
		barred[key] = true
	}
	w.barred = barred
	return rows.Err()
}
