package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/attestd/attestd"
)

// ErrNone says that there is no such record, or none that may be read.
var ErrNone = errors.New("no such decision, or no longer kept")

const (
	// slack is by how much a record's time can lie outside of its segment's: those that wait for a disk
	// are written late, and clocks are set.
	slack = 2 * time.Minute
	// mostScanned is how many bytes one page is looked for in.
	mostScanned = 256 << 20
	// MostRecords is the longest page.
	MostRecords = 1000
	// leastID is how much of an id must be given: of a UUIDv7, the time to about a minute.
	leastID    = 8
	uuidLength = 36
)

// Reader reads the records below a folder, also while they are written, or a copy of them elsewhere. It
// is safe for concurrent use.
type Reader struct {
	folder string
	// scan is mostScanned.
	scan int64
}

// OpenReader returns the reader of a journal's folder.
//
// Errors: [attestd.CallerError] where there is no such folder.
func OpenReader(folder string) (*Reader, error) {
	if _, err := os.Stat(filepath.Join(folder, segmentFolder)); err != nil {
		return nil, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "give state_dir/decisions of an attestd, or a copy of it",
			Err: fmt.Errorf("%q holds no records of decisions: %w", attestd.Excerpt(folder, 200), err),
		}
	}
	return &Reader{folder: folder, scan: mostScanned}, nil
}

// Reader returns a reader of what this journal writes.
func (j *Journal) Reader() *Reader { return &Reader{folder: j.config.Folder, scan: mostScanned} }

// Find returns the decision with an id, or with one that begins so, of at least 8 digits.
//
// Errors: [ErrNone], also for records of tenants other than those; [attestd.CallerError] for what is no
// id, or the beginning of several.
func (r *Reader) Find(ctx context.Context, id string, tenants []string) (Record, error) {
	first, last, err := between(id)
	if err != nil {
		return Record{}, err
	}
	all, err := segments(filepath.Join(r.folder, segmentFolder))
	if err != nil {
		return Record{}, err
	}
	var found []Record
	for _, one := range nearest(all, first, last) {
		if err := ctx.Err(); err != nil {
			return Record{}, err
		}
		content, err := r.content(one)
		if err != nil {
			return Record{}, err
		}
		found = findIn(found, content, id, tenants)
		if len(id) == uuidLength && len(found) == 1 && !found[0].Folded() {
			break // there is one decision of an id
		}
	}
	switch len(found) {
	case 0:
		return Record{}, ErrNone
	case 1:
		return found[0], nil
	default:
		return Record{}, &attestd.CallerError{
			Class: attestd.ClassConflict, Hint: "give more of the id",
			Err: fmt.Errorf("%d decisions or more begin with %s", len(found), id),
		}
	}
}

// nearest returns the segments that can have records of between first and last: those that are of that
// time by their names, and then those within slack of it.
func nearest(all []segment, first, last time.Time) (chosen []segment) {
	var others []segment
	for index, one := range all {
		begun, end := one.begun, last
		if index+1 < len(all) {
			end = all[index+1].begun
		}
		switch {
		case !begun.After(last) && !end.Before(first):
			chosen = append(chosen, one)
		case !begun.After(last.Add(slack)) && !end.Before(first.Add(-slack)):
			others = append(others, one)
		}
	}
	return append(chosen, others...)
}

// findIn adds the records of a segment whose ids begin so.
func findIn(found []Record, content []byte, id string, tenants []string) []Record {
	needle := []byte(`"policy_snapshot":"` + id)
	for {
		at := bytes.Index(content, needle)
		if at < 0 {
			return found
		}
		begin, length := bytes.LastIndexByte(content[:at], '\n')+1, bytes.IndexByte(content[at:], '\n')
		if length < 0 {
			return found // torn, or still being written
		}
		record, err := parse(content[begin : at+length])
		if err == nil && strings.HasPrefix(record.ID.String(), id) && Visible(&record, tenants) {
			found = appendOnce(found, record)
		}
		content = content[at+length:]
	}
}

// appendOnce adds a record where it is not there. A whole record is preferred to a count whose last
// decision it is.
func appendOnce(found []Record, record Record) []Record {
	for index := range found {
		if found[index].ID == record.ID {
			if found[index].Folded() {
				found[index] = record
			}
			return found
		}
	}
	return append(found, record)
}

// between returns the first and the last time that a UUIDv7 of that beginning can be of (RFC 9562,
// section 5.7: the first 48 bits are milliseconds since 1970).
func between(id string) (first, last time.Time, err error) {
	refuse := func() (time.Time, time.Time, error) {
		return first, last, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "attestd decision ls lists them",
			Err: fmt.Errorf("%q is no id of a decision, nor 8 digits or more of its beginning", attestd.Excerpt(id, 60)),
		}
	}
	const shape = "00000000-0000-0000-0000-000000000000"
	if len(id) < leastID || len(id) > uuidLength {
		return refuse()
	}
	for at, char := range []byte(id) {
		if digit := char >= '0' && char <= '9' || char >= 'a' && char <= 'f'; digit == (shape[at] == '-') ||
			!digit && char != '-' {
			return refuse()
		}
	}
	low := strings.ReplaceAll(id+shape[len(id):], "-", "")
	high := strings.ReplaceAll(id+strings.ReplaceAll(shape, "0", "f")[len(id):], "-", "")
	bound := func(digits string) time.Time {
		var wide [8]byte
		_, _ = hex.Decode(wide[2:], []byte(digits[:12]))               // digits were looked at
		return time.UnixMilli(int64(binary.BigEndian.Uint64(wide[:]))) //nolint:gosec // 48 bits
	}
	return bound(low), bound(high), nil
}

// IDTime returns the time in a decision's id.
func IDTime(id uuid.UUID) time.Time {
	seconds, nanoseconds := id.Time().UnixTime()
	return time.Unix(seconds, nanoseconds).UTC()
}

// content reads a segment. One that was deleted meanwhile is empty.
func (r *Reader) content(one segment) ([]byte, error) {
	content, err := os.ReadFile(filepath.Join(r.folder, segmentFolder, one.name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return content, err
}

// List returns a page of what a query selects.
//
// Errors: [attestd.CallerError] for a limit or a place that is none.
func (r *Reader) List(ctx context.Context, query Query) (Page, error) {
	if query.Limit < 1 || query.Limit > MostRecords {
		return Page{}, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: fmt.Sprintf("give 1 to %d", MostRecords),
			Err: fmt.Errorf("the limit is %d", query.Limit),
		}
	}
	l := listing{reader: r, filter: newFilter(query), left: r.scan}
	if query.After != "" {
		after, err := parsePlace(query.After)
		if err != nil {
			return Page{}, err
		}
		l.after = &after
	}
	all, err := segments(filepath.Join(r.folder, segmentFolder))
	if err != nil {
		return Page{}, err
	}
	if query.Oldest {
		err = l.forward(ctx, all)
	} else {
		slices.Reverse(all)
		err = l.backward(ctx, all)
	}
	return l.page, err
}

// Follow calls each with every record that a query selects, the oldest first, and goes on with those
// that are written later, until ctx ends or each returns an error, which it returns. Where the query has
// no After, it begins with what is written from now on.
func (r *Reader) Follow(ctx context.Context, query Query, each func(*Record) error) error {
	if query.After == "" {
		end, err := r.End()
		if err != nil {
			return err
		}
		query.After = end
	}
	query.Oldest, query.Limit = true, MostRecords
	for {
		page, err := r.List(ctx, query)
		if err != nil {
			return err
		}
		for index := range page.Records {
			if err := each(&page.Records[index]); err != nil {
				return err
			}
		}
		moved := page.Next != query.After
		query.After = page.Next
		if moved {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(followEvery):
		}
	}
}

// followEvery is how often what is new is looked for.
const followEvery = 250 * time.Millisecond

// End returns the place behind all records, for a query with Oldest.
func (r *Reader) End() (string, error) {
	all, err := segments(filepath.Join(r.folder, segmentFolder))
	if err != nil || len(all) == 0 {
		return place{}.String(), err
	}
	last := all[len(all)-1]
	return place{segment: last.number, offset: last.bytes}.String(), nil
}

// Policies returns the files of a policy set.
//
// Errors: [fs.ErrNotExist] where they are not kept.
func (r *Reader) Policies(digest string) (fs.FS, error) {
	folder, err := policiesAt(r.folder, digest)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(folder); err != nil {
		return nil, err
	}
	return os.DirFS(folder), nil
}
