package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// Inventory has the records in memory. It is told of commits as an [Index] is: in their order,
// before anybody is told that they were made.
type Inventory interface {
	// Load takes up everything there is.
	Load(records iter.Seq2[nhi.Record, error]) error
	// Publish takes up what a commit changed, with the generations that were stored.
	Publish(changes []nhi.RecordWrite)
}

const (
	selectRecord = `SELECT id, updated_at, generation, document FROM records `
	lookAtRecord = `SELECT id, generation FROM records WHERE fold = ?`
	insertRecord = `INSERT INTO records (fold, id, tenant, updated_at, generation, document)
		VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (fold) DO UPDATE SET tenant = excluded.tenant,
		updated_at = excluded.updated_at, generation = excluded.generation, document = excluded.document`
	deleteRecord = `DELETE FROM records WHERE fold = ?`
)

// documentOf returns what is stored of a record as its document.
func documentOf(record nhi.Record) ([]byte, error) {
	record.ID, record.Updated, record.Generation = "", time.Time{}, 0
	return json.Marshal(record)
}

// maxShapes is how many documents a reader of records has at hand as they were read.
const maxShapes = 1 << 14

// recordReader reads rows. Most records say what others say: their documents are read once.
type recordReader struct{ known map[string]nhi.Record }

func (r *recordReader) scan(row scanner) (nhi.Record, error) {
	var id string
	var at int64
	var generation uint64
	var document sql.RawBytes
	// A single row cannot lend its bytes.
	if _, lends := row.(*sql.Rows); lends {
		if err := row.Scan(&id, &at, &generation, &document); err != nil {
			return nhi.Record{}, err
		}
	} else if err := row.Scan(&id, &at, &generation, (*[]byte)(&document)); err != nil {
		return nhi.Record{}, err
	}
	one, there := r.known[string(document)]
	if !there {
		if err := json.Unmarshal(document, &one); err != nil {
			return nhi.Record{}, fmt.Errorf("record of the inventory: %w", err)
		}
		if len(r.known) >= maxShapes {
			clear(r.known)
		}
		r.known[string(document)] = one
	}
	one.ID, one.Updated, one.Generation = id, moment(at), generation
	one.Tools, one.Datasets = slices.Clone(one.Tools), slices.Clone(one.Datasets)
	return one, nil
}

func newRecordReader() *recordReader { return &recordReader{known: map[string]nhi.Record{}} }

// AllRecords returns every record, in no order, and the error that ends them.
func (s *Store) AllRecords(ctx context.Context) iter.Seq2[nhi.Record, error] {
	return rowsOf(ctx, s, selectRecord, newRecordReader().scan)
}

// FindRecord returns the record of that id, in whatever case, where it is of one of the tenants;
// "*" is all of them, and those without.
func (s *Store) FindRecord(ctx context.Context, tenants []string, id string) (nhi.Record, bool, error) {
	query, err := selectRecords(nhi.Filter{Tenants: tenants, Limit: 1})
	if err != nil {
		return nhi.Record{}, false, err
	}
	if err := demandTexts(maxText, id); err != nil {
		return nhi.Record{}, false, err
	}
	query.and("fold = ?", nhi.Fold(id))
	list, err := listOf(ctx, s.reading, query, selectRecord, "fold", newRecordReader().scan)
	if err != nil || len(list) == 0 {
		return nhi.Record{}, false, err
	}
	return list[0], true, nil
}

// Records returns a page of records in the order of their ids without case, and After of the next
// page.
//
// Errors: a [*attestd.CallerError] of class MALFORMED for a filter without tenants, or with a limit
// that is none.
func (s *Store) Records(ctx context.Context, filter nhi.Filter) (list []nhi.Record, next string, err error) {
	query, err := selectRecords(filter)
	if err != nil {
		return nil, "", err
	}
	query.part([]string{"fold"}, filter.Text)
	if filter.After != "" {
		query.and("fold > ?", nhi.Fold(filter.After))
	}
	list, err = listOf(ctx, s.reading, query, selectRecord, "fold", newRecordReader().scan)
	if err == nil && len(list) > filter.Limit {
		list = list[:filter.Limit]
		next = list[len(list)-1].ID
	}
	return list, next, err
}

func selectRecords(filter nhi.Filter) (*selection, error) {
	return selectBy(subject.Filter{
		Tenants: filter.Tenants, Text: filter.Text, After: filter.After, Limit: filter.Limit,
	})
}

// RecordsAs returns the records with those ids as they are, whosever they are: for who must know
// what a write would change. An id without a record is left out.
func (s *Store) RecordsAs(ctx context.Context, ids []string) (list []nhi.Record, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	if len(ids) > maxPage {
		return nil, malformed("%d ids at once, want at most %d", len(ids), maxPage)
	}
	query, err := selectRecords(nhi.Filter{Tenants: []string{operator.AllTenants}, Limit: maxPage})
	if err != nil {
		return nil, err
	}
	folds := make([]any, len(ids))
	for i, id := range ids {
		if err := demandTexts(maxText, id); err != nil {
			return nil, err
		}
		folds[i] = nhi.Fold(id)
	}
	query.in("fold", folds)
	return listOf(ctx, s.reading, query, selectRecord, "fold", newRecordReader().scan)
}

// WriteRecords carries a write out as a whole, durably, and makes it known to the inventory before
// it returns; or nothing of it.
//
// Errors: a [*subject.MovedError] where a record changed since it was decided upon; a
// [*attestd.CallerError] of class CONFLICT where an id is there in another spelling, and of class
// MALFORMED where a record has a fault; an [*attestd.UndecidedError] of class STORE_UNAVAILABLE.
func (s *Store) WriteRecords(ctx context.Context, write nhi.Write) error {
	documents, err := demandRecords(write)
	if err != nil {
		return err
	}
	err = s.writer.do(ctx, func(ctx context.Context, w *writer) error {
		for _, one := range write.Records {
			if err := w.demandRecord(ctx, one); err != nil {
				return err
			}
		}
		for i, one := range write.Records {
			if err := w.putRecord(ctx, one, documents[i]); err != nil {
				return err
			}
		}
		return w.record(ctx, write.Audit)
	})
	return unavailable(ctx, err)
}

// demandRecords refuses what cannot be stored, and returns the documents of the rest.
func demandRecords(write nhi.Write) (documents [][]byte, err error) {
	if len(write.Records) > maxRows || len(write.Audit) > maxRows {
		return nil, malformed("a write of %d records, want at most %d", len(write.Records), maxRows)
	}
	if len(write.Records) > 0 && len(write.Audit) == 0 {
		return nil, malformed("records that change without an entry of the audit log")
	}
	seen := make(map[string]bool, len(write.Records))
	for _, one := range write.Records {
		fold := nhi.Fold(one.ID)
		if seen[fold] {
			return nil, malformed("%q stands twice in one write", attestd.Excerpt(one.ID, 80))
		}
		seen[fold] = true
		if one.Next == nil {
			documents = append(documents, nil)
			continue
		}
		if one.Next.ID != one.ID {
			return nil, malformed("a record of another id than %q", attestd.Excerpt(one.ID, 80))
		}
		if faults := one.Next.Check(); len(faults) > 0 {
			return nil, malformed("record of %q: %s", attestd.Excerpt(one.ID, 80), faults[0])
		}
		document, err := documentOf(*one.Next)
		if err != nil {
			return nil, fmt.Errorf("record of the inventory: %w", err)
		}
		documents = append(documents, document)
	}
	for _, one := range write.Audit {
		if _, err := audit.Encode(one); err != nil {
			return nil, malformed("audit: %w", err)
		}
	}
	return documents, nil
}

func (w *writer) demandRecord(ctx context.Context, one nhi.RecordWrite) error {
	var id string
	var generation uint64
	err := w.lookRecord.QueryRowContext(ctx, nhi.Fold(one.ID)).Scan(&id, &generation)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if generation != one.Expect || generation == 0 && one.Next == nil {
		return refusal{&subject.MovedError{What: "the record"}}
	}
	if generation != 0 && id != one.ID {
		return refusal{&attestd.CallerError{
			Class: attestd.ClassConflict, Hint: "spell it as it is there, or remove that record first",
			Err: fmt.Errorf("the inventory has %q, which differs from %q in case alone",
				attestd.Excerpt(id, 80), attestd.Excerpt(one.ID, 80)),
		}}
	}
	return nil
}

func (w *writer) putRecord(ctx context.Context, one nhi.RecordWrite, document []byte) error {
	fold := nhi.Fold(one.ID)
	if one.Next == nil {
		if err := demandOne(w.deleteRecord.ExecContext(ctx, fold)); err != nil {
			return err
		}
		w.made.records = append(w.made.records, nhi.RecordWrite{ID: one.ID, Expect: one.Expect})
		return nil
	}
	next := *one.Next
	next.Generation = one.Expect + 1
	err := demandOne(w.insertRecord.ExecContext(ctx, fold, next.ID, next.Tenant, stamp(next.Updated),
		int64(next.Generation), document)) //nolint:gosec // counts up from 1
	if err != nil {
		return err
	}
	w.made.records = append(w.made.records, nhi.RecordWrite{ID: one.ID, Expect: one.Expect, Next: &next})
	return nil
}
