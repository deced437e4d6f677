package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
)

const insertChallenge = `INSERT INTO challenges
	(id, nonce, trust_domain, verifier_key_id, tenant, purpose, format, source, issued_at, expires_at)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// InsertChallenge stores a challenge that was issued to source.
//
// Errors: a [*attestd.CallerError] of class RATE_LIMITED where too many wait already.
func (s *Store) InsertChallenge(ctx context.Context, issued attestd.Challenge, source string) error {
	return s.writer.do(ctx, func(ctx context.Context, w *writer) error {
		if err := w.outstanding.room(w.limits, issued.Tenant, source); err != nil {
			return refusal{err}
		}
		_, err := w.insert.ExecContext(ctx, issued.ID, issued.Nonce, issued.TrustDomain,
			issued.VerifierKeyID, issued.Tenant, issued.Purpose, string(issued.Format),
			source, issued.IssuedAt.UnixNano(), issued.ExpiresAt.UnixNano())
		if err == nil {
			w.outstanding.add(issued.Tenant, source, 1)
		}
		return err
	})
}

const (
	useChallenge = `UPDATE challenges SET used_at = ?1
		WHERE id = ?2 AND tenant = ?3 AND purpose = ?4 AND format = ?5
		AND used_at IS NULL AND expires_at > ?1`
	lookAtChallenge = `SELECT nonce, trust_domain, verifier_key_id, tenant, purpose, format, source,
		issued_at, expires_at, used_at FROM challenges WHERE id = ?`
)

// Consume marks the challenge as used and returns it with Consumed, or says why not. The row count
// of one UPDATE decides; whoever reads first and writes later lets two through.
//
// Errors: where the store cannot be written; the challenge is then neither used nor refused.
func (s *Store) Consume(ctx context.Context, use challenge.Use) (attestd.Challenge, challenge.Outcome, error) {
	var consumed attestd.Challenge
	var outcome challenge.Outcome
	err := s.writer.do(ctx, func(ctx context.Context, w *writer) error {
		now := w.clock.Now().UnixNano()
		result, err := w.use.ExecContext(ctx, now, use.ID, use.Tenant, use.Purpose, string(use.Format))
		if err != nil {
			return err
		}
		changed, err := result.RowsAffected()
		if err != nil {
			return err
		}
		row, err := w.read(ctx, use.ID)
		if err != nil {
			return err
		}
		if changed == 1 {
			consumed, outcome = row.Challenge, challenge.Consumed
			w.outstanding.add(row.Tenant, row.source, -1)
			return nil
		}
		outcome = row.refusedFor(use)
		return nil
	})
	// Nothing is handed out before its commit: on an error the closure may still be running.
	if err != nil {
		return attestd.Challenge{}, challenge.Unknown, err
	}
	return consumed, outcome, nil
}

// challengeRow is a challenge as stored; found is false for the row that is not there.
type challengeRow struct {
	attestd.Challenge
	source string
	used   bool
	found  bool
}

func (r challengeRow) refusedFor(use challenge.Use) challenge.Outcome {
	switch {
	case !r.found:
		return challenge.Unknown
	case r.Tenant != use.Tenant, r.Purpose != use.Purpose, r.Format != use.Format:
		return challenge.Foreign
	case r.used:
		return challenge.UsedBefore
	default:
		return challenge.Expired
	}
}

func (w *writer) read(ctx context.Context, id string) (challengeRow, error) {
	row := challengeRow{Challenge: attestd.Challenge{ID: id}, found: true}
	var issued, expires int64
	var used sql.NullInt64
	err := w.look.QueryRowContext(ctx, id).Scan(&row.Nonce, &row.TrustDomain, &row.VerifierKeyID,
		&row.Tenant, &row.Purpose, &row.Format, &row.source, &issued, &expires, &used)
	if errors.Is(err, sql.ErrNoRows) {
		return challengeRow{}, nil
	}
	row.IssuedAt, row.ExpiresAt = time.Unix(0, issued).UTC(), time.Unix(0, expires).UTC()
	row.used = used.Valid
	return row, err
}

// outstanding counts the challenges that wait for evidence. It belongs to the writer's goroutine.
type outstanding struct {
	total     int
	perTenant map[string]int
	perSource map[string]int
}

func (o *outstanding) add(tenant, source string, n int) {
	o.total += n
	for _, counter := range []struct {
		counts map[string]int
		key    string
	}{{o.perTenant, tenant}, {o.perSource, source}} {
		counter.counts[counter.key] += n
		if counter.counts[counter.key] <= 0 {
			delete(counter.counts, counter.key)
		}
	}
}

// room refuses where one challenge more would be over a limit. The narrowest is asked first, so that
// the message names the cause that the caller can do something about.
func (o *outstanding) room(limits Limits, tenant, source string) error {
	for _, bound := range []struct {
		name       string
		count, max int
	}{
		{"source", o.perSource[source], limits.PerSource},
		{"tenant", o.perTenant[tenant], limits.PerTenant},
		{"verifier", o.total, limits.Outstanding},
	} {
		if bound.count >= bound.max {
			return &attestd.CallerError{
				Class: attestd.ClassRateLimited,
				Hint:  "answer the challenges that are out, or wait until they expire",
				Err: fmt.Errorf("%d challenges of this %s wait for evidence, want fewer than %d",
					bound.count, bound.name, bound.max),
			}
		}
	}
	return nil
}

// recount reads the counts from the database: at the start, after each purge, and after a failed
// commit.
func (w *writer) recount(ctx context.Context) error {
	rows, err := w.conn.QueryContext(ctx, `SELECT tenant, source, count(*) FROM challenges
		WHERE used_at IS NULL AND expires_at > ? GROUP BY tenant, source`, w.clock.Now().UnixNano())
	if err != nil {
		return fmt.Errorf("count challenges: %w", err)
	}
	defer func() { _ = rows.Close() }()
	fresh := outstanding{perTenant: map[string]int{}, perSource: map[string]int{}}
	for rows.Next() {
		var tenant, source string
		var count int
		if err := rows.Scan(&tenant, &source, &count); err != nil {
			return fmt.Errorf("count challenges: %w", err)
		}
		fresh.add(tenant, source, count)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("count challenges: %w", err)
	}
	w.outstanding = fresh
	return nil
}

// keepExpired is how long the row of an expired challenge stays, to tell "used" and "expired" from
// "unknown". purgeRows is the most rows that one step of a purge removes of each table, so that no caller
// waits long behind it.
const (
	keepExpired = time.Minute
	purgeRows   = 5000
)

// Purge removes challenges that are long expired and appraisals that are over the limits, in steps,
// until none is left: rows that come faster than one step removes them would fill the disk.
func (s *Store) Purge(ctx context.Context) error {
	for {
		if more, err := s.purgeStep(ctx); err != nil || !more {
			return err
		}
	}
}

// purgeStep reports whether there may be more to remove. What it counts is read behind its commit
// only.
func (s *Store) purgeStep(ctx context.Context) (more bool, err error) {
	var full bool
	err = s.writer.do(ctx, func(ctx context.Context, w *writer) error {
		now := w.clock.Now()
		for _, step := range []struct {
			query     string
			arguments []any
		}{
			{`DELETE FROM challenges WHERE id IN
				(SELECT id FROM challenges WHERE expires_at < ? ORDER BY expires_at LIMIT ?)`,
				[]any{now.Add(-keepExpired).UnixNano(), purgeRows}},
			{`DELETE FROM appraisals WHERE number IN
				(SELECT number FROM appraisals ORDER BY number LIMIT ?)
				AND (created_at < ? OR number <= (SELECT max(number) FROM appraisals) - ?)`,
				[]any{purgeRows, now.Add(-w.limits.KeepAppraisals).UnixNano(), w.limits.Appraisals}},
		} {
			result, err := w.conn.ExecContext(ctx, step.query, step.arguments...)
			if err != nil {
				return err
			}
			removed, err := result.RowsAffected()
			if err != nil {
				return err
			}
			full = full || removed == purgeRows
		}
		return w.recount(ctx)
	})
	if err != nil {
		return false, err
	}
	return full, nil
}
