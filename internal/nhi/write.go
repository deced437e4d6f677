package nhi

import "github.com/attestd/attestd/internal/audit"

// RecordWrite changes one record: Next takes its place, or nothing where Next is nil.
type RecordWrite struct {
	ID string
	// Expect is the generation that the change was decided upon; 0 where there was no record.
	Expect uint64
	Next   *Record
}

// Write is carried out as a whole, with its records of the audit log, or nothing of it is.
type Write struct {
	Records []RecordWrite
	Audit   []audit.Record
}

// Filter selects records. Tenants are those that the asker may see, "*" for all; records without a
// tenant are seen by those alone who see all.
type Filter struct {
	Tenants []string
	// Text is a part of the id, in whatever case.
	Text string
	// After is the id behind which a page begins, Limit how many are in it.
	After string
	Limit int
}
