package registry

import "context"

// PerEndorsementKey is how many attestation keys are kept under one endorsement key.
const PerEndorsementKey = perEndorsementKey

// BoundKeys bounds the attestation keys that are kept in all.
func (s *Store) BoundKeys(most int) error {
	return s.writer.do(context.Background(), func(_ context.Context, w *writer) error {
		w.maxKeys = most
		return nil
	})
}
