package journal

import (
	"github.com/attestd/attestd/internal/decision"
)

// Parts that tests look at from outside.
var (
	RecordOf     = recordOf
	AppendRecord = appendRecord
	// WholeLines is what is left of a segment that a crash has torn.
	WholeLines = wholeLines
)

// Encode returns a record as a line.
func Encode(record Record) ([]byte, error) { return encode(&record) }

// Limits of a flood.
const (
	WholeOfKind = wholeOfKind
	OneIn       = oneIn
	QueueLength = queueLength
)

// FreeIs has the journal believe that so many bytes of the disk are free.
func (j *Journal) FreeIs(free func() (int64, error)) {
	j.store.free = func(string) (int64, error) { return free() }
}

// SegmentOf bounds segments.
func (j *Journal) SegmentOf(bytes int64) { j.store.limit = bytes }

// ScanIs bounds what one page reads.
func (r *Reader) ScanIs(bytes int64) { r.scan = bytes }

// Waiting is how many answers wait to be written.
func (j *Journal) Waiting() int { return len(j.queue) }

// Selected reads a line as a listing with a query does.
func Selected(query Query, line []byte) (Record, bool) { return newFilter(query).read(line) }

// Take asks a new flood about answers, and returns how many are written whole and what is left of it.
func Take(answers []*decision.Answer, allows int) (whole int, folds []Record) {
	f := newFlood()
	for _, answer := range answers {
		if f.take(answer, allows) {
			whole++
		}
	}
	return whole, f.collect(answers[len(answers)-1].Input.At, true)
}

// Suspicious reports whether a line is searched for secrets.
func Suspicious(line []byte) bool { return suspicious(line) }
