package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/subject"
)

// Verdict is a verdict as it is stored: the document that the caller gets, what it does to a subject,
// and what is needed to reach it again. All of it is kept, or nothing.
type Verdict struct {
	challenge.Answered
	Write subject.Write
	// Evidence is kept as the latest of its subject; nil where the verdict is none that is judged again.
	Evidence *Evidence
}

// Evidence is what is needed to judge again without touching the machine.
type Evidence struct {
	Subject subject.ID
	// Tenant of the subject; it decides who may see that the evidence is judged again.
	Tenant string
	Format attestd.Format
	// At is the time that the evidence was judged as of.
	At time.Time
	// Job says, in the service's own words, how the blobs are put together; the registry does not read it.
	Job []byte
	// Blobs are evidence and collateral. Equal ones are stored once.
	Blobs [][]byte
}

// StoredVerdict is evidence as it was kept.
type StoredVerdict struct {
	Evidence
	AppraisalID string
}

// Bounds of what is kept of one verdict.
const (
	maxBlobs    = 64
	maxEvidence = 16 << 20
	maxJob      = 1 << 20
)

const (
	selectStored = `SELECT id, tenant, appraisal_id, format, at, job, blobs, fold FROM stored_verdicts `
	lookAtStored = `SELECT blobs FROM stored_verdicts WHERE fold = ?`
	insertStored = `INSERT INTO stored_verdicts (fold, id, tenant, appraisal_id, format, at, job, blobs)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (fold) DO UPDATE SET tenant = excluded.tenant, appraisal_id = excluded.appraisal_id,
		format = excluded.format, at = excluded.at, job = excluded.job, blobs = excluded.blobs`
	insertBlob = `INSERT INTO blobs (sha256, refs, data) VALUES (?, 1, ?)
		ON CONFLICT (sha256) DO UPDATE SET refs = refs + 1`
	releaseBlob = `UPDATE blobs SET refs = refs - 1 WHERE sha256 = ?`
	deleteBlob  = `DELETE FROM blobs WHERE sha256 = ? AND refs = 1`
	selectBlob  = `SELECT data FROM blobs WHERE sha256 = ?`
)

// Keep stores a verdict, what it showed of an attestation key, what it does to a subject and its
// evidence: all of them or nothing. A second one for the same challenge is an error.
//
// Errors: those of [Store.Write]; a [*attestd.CallerError] of class CONFLICT or a
// [*challenge.MovedError] where what was shown of an attestation key contradicts what is known by now.
func (s *Store) Keep(ctx context.Context, verdict Verdict) error {
	if err := demandWrite(verdict.Write); err != nil {
		return err
	}
	if err := demandEvidence(verdict); err != nil {
		return err
	}
	err := s.writer.doAs(ctx, priorityOf(verdict.Write), func(ctx context.Context, w *writer) error {
		// First what may refuse, then what writes.
		if err := w.demandStill(ctx, verdict.Write); err != nil {
			return err
		}
		if err := w.keepAppraisal(ctx, verdict.Answered); err != nil {
			return err
		}
		if err := w.apply(ctx, verdict.Write); err != nil || verdict.Evidence == nil {
			return err
		}
		return w.keepEvidence(ctx, verdict.ID, *verdict.Evidence)
	})
	return unavailable(ctx, err)
}

func demandEvidence(verdict Verdict) error {
	evidence := verdict.Evidence
	if evidence == nil {
		return nil
	}
	if _, err := subject.ParseID(string(evidence.Subject)); err != nil {
		return err
	}
	size := 0
	for _, blob := range evidence.Blobs {
		size += len(blob)
	}
	if evidence.Tenant == "" || len(evidence.Blobs) > maxBlobs || size > maxEvidence ||
		len(evidence.Job) > maxJob {
		return malformed("evidence of %d parts and %d bytes with a job of %d, want at most %d, %d and %d, "+
			"and a tenant", len(evidence.Blobs), size, len(evidence.Job), maxBlobs, maxEvidence, maxJob)
	}
	return demandTexts(maxWord, evidence.Tenant, string(evidence.Format))
}

func (w *writer) keepEvidence(ctx context.Context, id string, evidence Evidence) error {
	fold := evidence.Subject.Fold()
	var before []byte
	if err := w.lookStored.QueryRowContext(ctx, fold).Scan(&before); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	had := digestsIn(before)
	sums := make([]byte, 0, len(evidence.Blobs)*sha256.Size)
	has := map[[sha256.Size]byte]bool{}
	for _, blob := range evidence.Blobs {
		sum := sha256.Sum256(blob)
		sums = append(sums, sum[:]...)
		if had[sum] || has[sum] {
			has[sum] = true
			continue // each subject counts for one, however often it has the blob
		}
		has[sum] = true
		if _, err := w.insertBlob.ExecContext(ctx, sum[:], notNil(blob)); err != nil {
			return err
		}
	}
	_, err := w.insertStored.ExecContext(ctx, fold, string(evidence.Subject), evidence.Tenant, id,
		string(evidence.Format), stamp(evidence.At), notNil(evidence.Job), sums)
	if err != nil {
		return err
	}
	for sum := range had {
		if !has[sum] {
			if err := w.dropBlob(ctx, sum); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropBlob takes one reference to a blob away, and with the last one the blob.
func (w *writer) dropBlob(ctx context.Context, sum [sha256.Size]byte) error {
	result, err := w.deleteBlob.ExecContext(ctx, sum[:])
	if err != nil {
		return err
	}
	if removed, err := result.RowsAffected(); err != nil || removed == 1 {
		return err
	}
	return demandOne(w.releaseBlob.ExecContext(ctx, sum[:]))
}

func digestsIn(sums []byte) map[[sha256.Size]byte]bool {
	set := map[[sha256.Size]byte]bool{}
	for sum := range slices.Chunk(sums, sha256.Size) {
		set[[sha256.Size]byte(sum)] = true
	}
	return set
}

// notNil keeps an empty value from being stored as NULL.
func notNil(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

// storedRow is a row of stored_verdicts with the digests of its blobs.
type storedRow struct {
	StoredVerdict
	sums []byte
	fold string
}

func scanStored(row scanner) (storedRow, error) {
	var one storedRow
	var at int64
	err := row.Scan(&one.Subject, &one.Tenant, &one.AppraisalID, &one.Format, &at, &one.Job, &one.sums,
		&one.fold)
	one.At = moment(at)
	return one, err
}

// Stored returns a page of the latest accepted evidence of each subject of the tenants, in the order
// of their ids without case, and after of the next page, empty at the end. The pages are no snapshot:
// evidence that is replaced meanwhile is the newer one.
//
// Errors: where a blob is not what its digest says. Nothing is judged by what the disk made of it.
func (s *Store) Stored(
	ctx context.Context, tenants []string, after string, limit int,
) (list []StoredVerdict, next string, err error) {
	query, err := selectBy(subject.Filter{Tenants: tenants, After: after, Limit: limit})
	if err != nil {
		return nil, "", err
	}
	query.and("fold > ?", subject.ID(after).Fold())
	rows, err := listOf(ctx, s.reading, query, selectStored, "fold", scanStored)
	if err != nil {
		return nil, "", err
	}
	if len(rows) > limit {
		rows = rows[:limit]
		next = rows[limit-1].fold
	}
	for _, row := range rows {
		if row.Blobs, err = s.blobs(ctx, row.sums); errors.Is(err, sql.ErrNoRows) {
			continue // replaced between the two reads; the newer one is judged by its own policy
		}
		if err != nil {
			return nil, "", unavailable(ctx, err)
		}
		list = append(list, row.StoredVerdict)
	}
	return list, next, nil
}

func (s *Store) blobs(ctx context.Context, sums []byte) ([][]byte, error) {
	var blobs [][]byte
	for sum := range slices.Chunk(sums, sha256.Size) {
		var blob []byte
		if err := s.reading.QueryRowContext(ctx, selectBlob, sum).Scan(&blob); err != nil {
			return nil, err
		}
		if found := sha256.Sum256(blob); !bytes.Equal(found[:], sum) {
			return nil, fmt.Errorf("a stored blob has another digest than %x", sum[:8])
		}
		blobs = append(blobs, blob)
	}
	return blobs, nil
}
