package registry

import (
	"context"

	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/subject"
)

// PerEndorsementKey is how many attestation keys are kept under one endorsement key.
const PerEndorsementKey = perEndorsementKey

// BoundKeys bounds the attestation keys that are kept in all.
func (s *Store) BoundKeys(most int) error {
	return s.writer.do(context.Background(), func(_ context.Context, w *writer) error {
		w.maxKeys = most
		return nil
	})
}

// InsertAppraisal keeps a verdict about no subject.
func (s *Store) InsertAppraisal(ctx context.Context, row challenge.Answered) error {
	return s.Keep(ctx, Verdict{Answered: row})
}

// ReportFailure does to the last commit what a disk does that reports a failure of one that it carried
// out: the registry was not told, and reads what became of it.
func (s *Store) ReportFailure(changed subject.Subject) error {
	return s.writer.do(context.Background(), func(ctx context.Context, w *writer) error {
		w.before--
		w.doubt = made{subjects: []subject.Subject{changed}}
		return w.reread(ctx)
	})
}
