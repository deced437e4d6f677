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
	(id, nonce, trust_domain, verifier_key_id, tenant, purpose, format, source, issued_at, expires_at,
	ak_name, ek, secret_sha256)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// Room refuses where a challenge for the tenant and from the source would be over a limit. It is for
// work that a challenge needs before it is issued; nothing is set aside by it.
//
// Errors: a [*attestd.CallerError] of class RATE_LIMITED.
func (s *Store) Room(ctx context.Context, tenant, source string) error {
	return s.writer.do(ctx, func(_ context.Context, w *writer) error {
		if err := w.outstanding.room(w.limits, tenant, source); err != nil {
			return refusal{err}
		}
		return nil
	})
}

// InsertChallenge stores a challenge that was issued.
//
// Errors: a [*attestd.CallerError] of class RATE_LIMITED where too many wait already.
func (s *Store) InsertChallenge(ctx context.Context, issued challenge.Issued) error {
	return s.writer.do(ctx, func(ctx context.Context, w *writer) error {
		if err := w.outstanding.room(w.limits, issued.Tenant, issued.Source); err != nil {
			return refusal{err}
		}
		name, ek, secret := columnsOf(issued.Credential)
		_, err := w.insert.ExecContext(ctx, issued.ID, issued.Nonce, issued.TrustDomain,
			issued.VerifierKeyID, issued.Tenant, issued.Purpose, string(issued.Format),
			issued.Source, issued.IssuedAt.UnixNano(), issued.ExpiresAt.UnixNano(), name, ek, secret)
		if err == nil {
			w.outstanding.add(issued.Tenant, issued.Source, 1)
		}
		return err
	})
}

// columnsOf returns the three columns of a credential, NULL where there is none.
func columnsOf(credential *challenge.Credential) (name, ek, secret any) {
	if credential == nil {
		return nil, nil, nil
	}
	if !credential.Earlier {
		secret = credential.Secret[:]
	}
	return credential.AKName, credential.EK[:], secret
}

// credentialOf is the way back.
func credentialOf(name, ek, secret []byte) *challenge.Credential {
	if name == nil {
		return nil
	}
	credential := &challenge.Credential{AKName: name, Earlier: secret == nil}
	copy(credential.EK[:], ek)
	copy(credential.Secret[:], secret)
	return credential
}

const (
	useChallenge = `UPDATE challenges SET used_at = ?1
		WHERE id = ?2 AND tenant = ?3 AND purpose = ?4 AND format = ?5
		AND used_at IS NULL AND expires_at > ?1`
	lookAtChallenge = `SELECT nonce, trust_domain, verifier_key_id, tenant, purpose, format, source,
		issued_at, expires_at, used_at, ak_name, ek, secret_sha256 FROM challenges WHERE id = ?`
)

// Consume marks the challenge as used and returns it with Consumed, or says why not. The row count
// of one UPDATE decides; whoever reads first and writes later lets two through.
//
// Errors: where the store cannot be written; the challenge is then neither used nor refused. A
// [*attestd.CallerError] of class CONFLICT where the challenge's keys became another's since it was
// issued; it is used up then.
func (s *Store) Consume(ctx context.Context, use challenge.Use) (challenge.Taken, challenge.Outcome, error) {
	var consumed challenge.Taken
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
			if err := row.demandWhole(); err != nil {
				return refusal{err} // the row stays used: this challenge can come to nothing
			}
			consumed, outcome = challenge.Taken{Challenge: row.Challenge, Credential: row.credential}, challenge.Consumed
			w.outstanding.add(row.Tenant, row.source, -1)
			return w.addKey(ctx, &consumed)
		}
		outcome = row.refusedFor(use)
		return nil
	})
	// Nothing is handed out before its commit: on an error the closure may still be running.
	if err != nil {
		return challenge.Taken{}, challenge.Unknown, err
	}
	return consumed, outcome, nil
}

// addKey adds what is known of the key that the challenge's credential is for.
func (w *writer) addKey(ctx context.Context, taken *challenge.Taken) error {
	credential := taken.Credential
	if credential == nil {
		return nil
	}
	key, err := keyOf(ctx, w.conn, w.clock.Now(), taken.Tenant, credential.AKName, credential.EK)
	var caller *attestd.CallerError
	if errors.As(err, &caller) {
		return refusal{err} // the row stays used: this challenge can come to nothing
	}
	taken.Key = key
	return err
}

// challengeRow is a challenge as stored; found is false for the row that is not there.
type challengeRow struct {
	attestd.Challenge
	source     string
	credential *challenge.Credential
	used       bool
	found      bool
}

// demandWhole refuses a nonce that is not as it was issued. That the disk changed it is no fault of
// whoever answers the challenge.
func (r challengeRow) demandWhole() error {
	if size := len(r.Nonce); size < attestd.MinNonce || size > challenge.MaxNonce {
		return &attestd.UndecidedError{
			Check: checkStore, Class: attestd.ClassStoreUnavailable,
			Got: fmt.Sprintf("a stored nonce of %d bytes", size), Want: "nonces as they were issued",
			Hint: "ask for a new challenge; the database was changed beside attestd: attestd doctor",
		}
	}
	return nil
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
	var name, ek, secret []byte
	err := w.look.QueryRowContext(ctx, id).Scan(&row.Nonce, &row.TrustDomain, &row.VerifierKeyID,
		&row.Tenant, &row.Purpose, &row.Format, &row.source, &issued, &expires, &used,
		&name, &ek, &secret)
	if errors.Is(err, sql.ErrNoRows) {
		return challengeRow{}, nil
	}
	row.IssuedAt, row.ExpiresAt = time.Unix(0, issued).UTC(), time.Unix(0, expires).UTC()
	row.used, row.credential = used.Valid, credentialOf(name, ek, secret)
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

// recount reads the counts from the database: with everything else that is read anew ([writer.reread]),
// and after each purge.
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
	return w.countKeys(ctx)
}

// keepExpired is how long the row of an expired challenge stays, to tell "used" and "expired" from
// "unknown". purgeRows is the most rows that one step of a purge removes of each table, so that no caller
// waits long behind it. keepTokens is how long an enrolment token can be looked at after its end.
const (
	keepExpired = time.Minute
	keepTokens  = 30 * 24 * time.Hour
	purgeRows   = 5000
)

// Purge removes challenges and enrolment tokens that are long expired and appraisals that are over the
// limits, in steps,
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
	// It makes room, and so it is done where there is little.
	err = s.writer.doAs(ctx, essential, func(ctx context.Context, w *writer) error {
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
			{`DELETE FROM enrolment_tokens WHERE id IN
				(SELECT id FROM enrolment_tokens WHERE expires_at < ? ORDER BY expires_at LIMIT ?)`,
				[]any{now.Add(-keepTokens).UnixNano(), purgeRows}},
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
