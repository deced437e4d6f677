package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/attestd/attestd/internal/challenge"
)

const insertAppraisal = `INSERT INTO appraisals (id, challenge_id, tenant, created_at, document)
	VALUES (?, ?, ?, ?, ?)`

// InsertAppraisal stores an appraisal, and with it what it showed of an attestation key: both or
// neither. A second one for the same challenge is an error.
//
// Errors: where nothing was stored; a [*attestd.CallerError] of class CONFLICT or a
// [*challenge.MovedError] where what was shown of the key contradicts what is known by now.
func (s *Store) InsertAppraisal(ctx context.Context, row challenge.Answered) error {
	return s.writer.do(ctx, func(ctx context.Context, w *writer) error {
		if row.Seen != nil {
			if err := w.remember(ctx, row.Tenant, *row.Seen); err != nil {
				return err
			}
		}
		_, err := w.keep.ExecContext(ctx, row.ID, row.ChallengeID, row.Tenant,
			w.clock.Now().UnixNano(), row.Document)
		return err
	})
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
