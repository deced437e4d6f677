package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// Bounds of one page and of one text that is searched for.
const (
	maxPage = 1000
	maxText = 2048
)

// selection is the condition of a query. What callers say is in arguments alone, never in the text.
type selection struct {
	where     []string
	arguments []any
	limit     int
}

// selectBy begins a selection with what every list is narrowed by: the tenants that the asker may see.
//
// Errors: a [*attestd.CallerError] of class MALFORMED. No tenants at all select nothing and are a
// mistake of the caller, never "all".
func selectBy(filter subject.Filter) (*selection, error) {
	if filter.Limit < 1 || filter.Limit > maxPage {
		return nil, malformed("a page of %d, want 1 to %d", filter.Limit, maxPage)
	}
	if len(filter.Tenants) == 0 || slices.Contains(filter.Tenants, "") {
		return nil, malformed("a list without tenants, or with an empty one")
	}
	if err := demandTexts(maxText, filter.Text, filter.After, filter.Host, string(filter.Format)); err != nil {
		return nil, err
	}
	query := &selection{limit: filter.Limit}
	if !slices.Contains(filter.Tenants, operator.AllTenants) {
		query.in("tenant", texts(filter.Tenants))
	}
	return query, nil
}

func texts[T ~string](list []T) []any {
	values := make([]any, 0, len(list))
	for _, one := range list {
		values = append(values, string(one))
	}
	return values
}

func (q *selection) and(condition string, arguments ...any) {
	q.where = append(slices.Clip(q.where), "("+condition+")")
	q.arguments = append(slices.Clip(q.arguments), arguments...)
}

func (q *selection) equal(column, value string) {
	if value != "" {
		q.and(column+" = ?", value)
	}
}

func (q *selection) in(column string, values []any) {
	q.and(column+" IN (?"+strings.Repeat(", ?", len(values)-1)+")", values...)
}

func (q *selection) states(column string, states []attestd.State) {
	if len(states) == 0 {
		return
	}
	values := make([]any, 0, len(states))
	for _, state := range states {
		values = append(values, int64(state))
	}
	q.in(column, values)
}

// tiers selects by risk, whose tiers are ranges. A subject that never gave accepted evidence has none.
func (q *selection) tiers(tiers []attestd.Tier) {
	if len(tiers) == 0 {
		return
	}
	values := []any{int64(attestd.StateUnknown)}
	for points := range 101 {
		if slices.Contains(tiers, attestd.Risk(points).Tier()) {
			values = append(values, points)
		}
	}
	known := "state <> ? AND risk IN (" + strings.TrimPrefix(strings.Repeat(", ?", len(values)-1), ", ") + ")"
	if !slices.Contains(tiers, attestd.TierUnknown) {
		q.and(known, values...)
		return
	}
	q.and("state = ? OR "+known, append([]any{int64(attestd.StateUnknown)}, values...)...)
}

// part selects rows in one of whose columns text occurs, in whatever case. It is no pattern: nothing
// in it is a wildcard.
func (q *selection) part(columns []string, text string) {
	if text == "" {
		return
	}
	var conditions []string
	var arguments []any
	for _, column := range columns {
		conditions = append(conditions, "instr(lower("+column+"), lower(?)) > 0")
		arguments = append(arguments, text)
	}
	q.and(strings.Join(conditions, " OR "), arguments...)
}

// listOf returns one row more than the limit, by which the caller knows whether there is a next page.
func listOf[T any](
	ctx context.Context, from *sql.DB, query *selection, head, order string,
	scan func(scanner) (T, error),
) (list []T, err error) {
	text := head
	if len(query.where) > 0 {
		text += " WHERE " + strings.Join(query.where, " AND ")
	}
	text += fmt.Sprintf(" ORDER BY %s LIMIT %d", order, query.limit+1)
	rows, err := from.QueryContext(ctx, text, query.arguments...)
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	defer func() { err = errors.Join(err, unavailable(ctx, rows.Close())) }()
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, unavailable(ctx, err)
		}
		list = append(list, one)
	}
	if err := rows.Err(); err != nil {
		return nil, unavailable(ctx, err)
	}
	return list, nil
}
