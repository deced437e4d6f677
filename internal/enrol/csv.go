package enrol

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Columns of a CSV list. Kind and value must be there; the order is free.
const (
	columnKind    = "kind"
	columnValue   = "value"
	columnLabel   = "label"
	columnExpires = "expires_at"
)

var csvColumns = []string{columnKind, columnValue, columnLabel, columnExpires}

// spelled are kinds that people know by another name, and the key that each stands for.
var spelled = map[string]func(value string) subject.Key{
	"ek": func(value string) subject.Key {
		return subject.Key{Kind: KindInstance, Value: "ek:" + strings.ToLower(value)}
	},
	"chip": func(value string) subject.Key {
		return subject.Key{Kind: KindHost, Value: strings.ToLower(value)}
	},
	"aws-role-arn": func(value string) subject.Key {
		if !isRoleARN(value) {
			return subject.Key{Kind: KindAWSRole, Value: value} // which checkKey refuses
		}
		return subject.Key{Kind: KindAWSRole, Value: PCROf(value)}
	},
	"gce-instance": func(value string) subject.Key {
		return subject.Key{Kind: KindInstance, Value: "gce:" + value}
	},
	"azure-vm": func(value string) subject.Key {
		return subject.Key{Kind: KindInstance, Value: "azure:" + strings.ToLower(value)}
	},
}

// csv reads RFC 4180 with a header line. Quotes are read strictly, every line has as many fields as
// the header, and columns that are not known are refused: a misspelt "expires" would otherwise enrol
// for ever.
func (l *list) csv(document []byte) {
	if !utf8.Valid(document) {
		l.problem("list", "is not UTF-8")
		return
	}
	// Spreadsheets put a byte order mark before UTF-8.
	reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(document, []byte("\xef\xbb\xbf"))))
	reader.FieldsPerRecord, reader.ReuseRecord = -1, true
	first, err := reader.Read()
	if err != nil {
		l.problem("line 1", "no header; want the columns %s", strings.Join(csvColumns, ", "))
		return
	}
	columns := l.header(first)
	if columns == nil {
		return
	}
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		var syntax *csv.ParseError
		if errors.As(err, &syntax) {
			// Where a quote is out of place, nothing behind it can be trusted to be a line.
			l.problem(fmt.Sprintf("line %d", syntax.Line), "%s", syntax.Err)
			return
		}
		line, _ := reader.FieldPos(0)
		l.record(fmt.Sprintf("line %d", line), columns, record)
	}
}

// header returns the columns by name; nil where they will not do.
func (l *list) header(names []string) map[string]int {
	columns := make(map[string]int, len(names))
	for index, name := range names {
		_, twice := columns[name]
		switch {
		case twice:
			l.problem("line 1", "column %q stands twice", attestd.Excerpt(name, 40))
		case !isColumn(name):
			l.problem("line 1", "column %q is not known; want %s", attestd.Excerpt(name, 40),
				strings.Join(csvColumns, ", "))
		}
		columns[name] = index
	}
	for _, name := range []string{columnKind, columnValue} {
		if _, ok := columns[name]; !ok {
			l.problem("line 1", "no column %q", name)
		}
	}
	if len(l.problems) > 0 {
		return nil
	}
	return columns
}

func isColumn(name string) bool {
	for _, column := range csvColumns {
		if column == name {
			return true
		}
	}
	return false
}

func (l *list) record(place string, columns map[string]int, record []string) {
	if len(record) != len(columns) {
		l.problem(place, "has %d fields, want %d as in the header", len(record), len(columns))
		return
	}
	field := func(name string) string {
		if index, ok := columns[name]; ok {
			return strings.Clone(record[index])
		}
		return ""
	}
	entry := Entry{Label: field(columnLabel), place: place}
	if text := field(columnExpires); text != "" {
		expires, err := time.Parse(time.RFC3339, text)
		if err != nil || expires.IsZero() {
			l.problem(place, "expires_at: got %q, want a time as in 2027-01-31T00:00:00Z",
				attestd.Excerpt(text, 40))
			return
		}
		entry.ExpiresAt = expires.UTC()
	}
	kind, value := field(columnKind), field(columnValue)
	if key, ok := spelled[kind]; ok {
		entry.Key = key(value)
	} else {
		entry.Key = subject.Key{Kind: kind, Value: value}
	}
	l.add(entry)
}
