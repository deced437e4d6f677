package registry

import (
	"context"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// keepEvents is about how many events of one subject are kept, the newest. The audit log keeps all.
// trimEvery says how often the rest is looked for: no subject can push out another's.
const (
	keepEvents = 1000
	trimEvery  = 64
)

const (
	insertEvent = `INSERT INTO history (fold, id, tenant, at, kind, from_state, to_state, risk, epoch,
		actor, detail, appraisal_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	selectEvents = `SELECT number, id, tenant, at, kind, from_state, to_state, risk, epoch, actor, detail,
		appraisal_id FROM history WHERE fold = ? AND (? = 0 OR number < ?) ORDER BY number DESC LIMIT ?`
	trimEvents = `DELETE FROM history WHERE number IN
		(SELECT number FROM history WHERE fold = ? ORDER BY number DESC LIMIT -1 OFFSET ?)`
)

func (w *writer) putEvent(ctx context.Context, event subject.Event) error {
	result, err := w.insertEvent.ExecContext(ctx, event.ID.Fold(), string(event.ID), event.Tenant,
		stamp(event.At), event.Kind, int64(event.From), int64(event.To), event.Risk.Int(),
		int64(event.Epoch), event.Actor, event.Detail, event.AppraisalID) //nolint:gosec // counts up from 0
	if err != nil {
		return err
	}
	number, err := result.LastInsertId()
	if err != nil {
		return err
	}
	if number%trimEvery == 0 {
		_, err = w.conn.ExecContext(ctx, trimEvents, event.ID.Fold(), keepEvents)
	}
	return err
}

// History returns the events of a subject, the newest first, those before the event with number
// after; 0 begins with the newest.
func (s *Store) History(
	ctx context.Context, id subject.ID, after int64, limit int,
) (list []subject.Event, err error) {
	if limit < 1 || limit > maxPage {
		return nil, malformed("a page of %d events, want 1 to %d", limit, maxPage)
	}
	rows, err := s.reading.QueryContext(ctx, selectEvents, id.Fold(), after, after, limit)
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var event subject.Event
		var at int64
		var risk int
		if err := rows.Scan(&event.Number, &event.ID, &event.Tenant, &at, &event.Kind, &event.From,
			&event.To, &risk, &event.Epoch, &event.Actor, &event.Detail, &event.AppraisalID); err != nil {
			return nil, unavailable(ctx, err)
		}
		event.At, event.Risk = moment(at), attestd.Risk(risk)
		list = append(list, event)
	}
	if err := rows.Err(); err != nil {
		return nil, unavailable(ctx, err)
	}
	return list, nil
}
