package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/subject"
)

// AllTenants in [Query.Tenants] is every record, those without a tenant among them.
const AllTenants = "*"

// Query says which records are meant. Empty fields select all; an empty list of tenants selects none.
type Query struct {
	// Tenants whose records may be read, or [AllTenants].
	Tenants []string
	// Since and Until bound when it was decided: from Since on, before Until.
	Since, Until time.Time
	// Decision is [Allow] or [Deny].
	Decision string
	Reason   decision.Code
	Subject  subject.ID
	// Enforcer and Action as the record has them; ATLAS is a technique's id.
	Enforcer, Action, ATLAS string
	// Oldest lists the oldest first. Otherwise the newest come first.
	Oldest bool
	// After is Next of the page before; empty for the beginning.
	After string
	// Limit is the most records of a page.
	Limit int
}

// Page is a part of the records that a query selects.
type Page struct {
	Records []Record
	// Next is where the next page begins. A page can be short, or empty, and have a Next: reading ends
	// after so many bytes. It is empty at the end, but with Query.Oldest: there, what is written later
	// follows.
	Next string
}

// place is a line: the number of its segment, and the offset of its beginning. With Query.Oldest it is
// where the next line begins.
type place struct {
	segment, offset int64
}

func (p place) String() string { return fmt.Sprintf("%d:%d", p.segment, p.offset) }

func parsePlace(text string) (p place, err error) {
	first, second, found := strings.Cut(text, ":")
	if p.segment, err = strconv.ParseInt(first, 10, 64); err == nil {
		p.offset, err = strconv.ParseInt(second, 10, 64)
	}
	if err != nil || !found || p.segment < 0 || p.offset < 0 || p.String() != text {
		return place{}, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "take it from the page before, as it is",
			Err: fmt.Errorf("%q is no place to go on from", attestd.Excerpt(text, 40)),
		}
	}
	return p, nil
}

// filter is a query that lines are held against.
type filter struct {
	Query
	// needles must all stand in a line: without them it is not even read.
	needles [][]byte
}

func newFilter(query Query) filter {
	f := filter{Query: query}
	need := func(key, value string) {
		if value != "" {
			text, _ := json.Marshal(value) // a string always can be
			f.needles = append(f.needles, append([]byte(`"`+key+`":`), text...))
		}
	}
	need("decision", query.Decision)
	need("reason", string(query.Reason))
	need("subject", string(query.Subject))
	need("enforcer", query.Enforcer)
	need("action", query.Action)
	need("id", query.ATLAS)
	if len(query.Tenants) == 1 && query.Tenants[0] != AllTenants {
		need("tenant", query.Tenants[0])
	}
	return f
}

// read returns the record of a line that the query selects.
func (f filter) read(line []byte) (record Record, selected bool) {
	for _, needle := range f.needles {
		if !bytes.Contains(line, needle) {
			return record, false
		}
	}
	record, err := parse(line)
	return record, err == nil && f.selects(&record)
}

func (f filter) selects(record *Record) bool {
	end := record.At
	if record.Folded() {
		end = record.Last
	}
	switch {
	case !Visible(record, f.Tenants),
		!f.Since.IsZero() && end.Before(f.Since), !f.Until.IsZero() && !record.At.Before(f.Until),
		f.Decision != "" && record.Decision != f.Decision, f.Reason != "" && record.Reason != f.Reason,
		f.Subject != "" && record.Subject != f.Subject,
		f.Enforcer != "" && record.Enforcer != f.Enforcer, f.Action != "" && record.Action != f.Action:
		return false
	}
	return f.ATLAS == "" || slices.ContainsFunc(record.ATLAS, func(one Technique) bool { return one.ID == f.ATLAS })
}

// Visible reports whether who may act for some tenants may read a record.
func Visible(record *Record, tenants []string) bool {
	return slices.Contains(tenants, AllTenants) ||
		record.Tenant != "" && record.Tenant != anybody && slices.Contains(tenants, record.Tenant)
}

// parse reads a line.
func parse(line []byte) (record Record, err error) {
	if err := json.Unmarshal(line, &record); err != nil {
		return Record{}, err
	}
	switch {
	case record.Schema == FoldSchema && record.Count > 0:
	case record.Schema == RecordSchema && (record.Input != nil && record.Result != nil || record.Scrubbed):
	default:
		return Record{}, fmt.Errorf("schema %q, or what it demands is missing", attestd.Excerpt(record.Schema, 60))
	}
	if record.Decision != Allow && record.Decision != Deny {
		return Record{}, fmt.Errorf("decision %q", attestd.Excerpt(record.Decision, 20))
	}
	return record, nil
}
