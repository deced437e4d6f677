package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
)

const insertAppraisal = `INSERT INTO appraisals (id, challenge_id, tenant, created_at, document)
	VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`

// keepAppraisal stores a verdict's document, and with it what it showed of an attestation key. It writes
// nothing where it refuses: a [*attestd.CallerError] of class CONFLICT or a [*challenge.MovedError]
// where what was shown of the key contradicts what is known by now, CONFLICT where the challenge has
// its verdict already.
func (w *writer) keepAppraisal(ctx context.Context, row challenge.Answered) error {
	var move remembered
	if row.Seen != nil {
		var err error
		if move, err = w.demandSeen(ctx, row.Tenant, *row.Seen); err != nil {
			return err
		}
	}
	result, err := w.keep.ExecContext(ctx, row.ID, row.ChallengeID, row.Tenant,
		w.clock.Now().UnixNano(), row.Document)
	if err != nil {
		return err
	}
	kept, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if kept != 1 {
		return refusal{errAnswered()}
	}
	if row.Seen == nil {
		return nil
	}
	return w.remember(ctx, row.Tenant, row.Seen.Credential.AKName, move)
}

func errAnswered() error {
	return &attestd.CallerError{
		Class: attestd.ClassConflict, Hint: "ask for a new challenge",
		Err: errors.New("the challenge has its verdict already"),
	}
}

// Appraisal returns the document of the appraisal with that id, and whether there is one.
func (s *Store) Appraisal(ctx context.Context, id string) (document []byte, found bool, err error) {
	err = s.reading.QueryRowContext(ctx, "SELECT document FROM appraisals WHERE id = ?", id).Scan(&document)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("store: %w", err)
	default:
		return document, true, nil
	}
}
