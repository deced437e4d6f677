package registry

import (
	"context"
	"database/sql"
	"io/fs"
	"os"

	"github.com/attestd/attestd/internal/challenge"
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

// UseDriver opens databases by another driver until the test has ended.
func UseDriver(t interface{ Cleanup(func()) }, name string) {
	before := driverName
	driverName = name
	t.Cleanup(func() { driverName = before })
}

// Still ends what a store does by itself, so that nothing happens but what a test does.
func (s *Store) Still() {
	s.stop()
	s.janitor.Wait()
}

// Migrate applies the migrations of a folder.
func Migrate(ctx context.Context, database *sql.DB, all fs.FS) error {
	return migrate(ctx, database, all)
}

// ReadGuard and WriteGuard read and write the file as the one beside the database.
func ReadGuard(file *os.File) error {
	_, _, _, err := (&guard{file: file}).read()
	return err
}

func WriteGuard(file *os.File) error { return (&guard{file: file}).write() }

// DemandNewest compares a database with the file beside it, as a start does.
func DemandNewest(ctx context.Context, database *sql.DB, file *os.File) error {
	return (&guard{file: file}).demandNewest(ctx, database, false)
}
