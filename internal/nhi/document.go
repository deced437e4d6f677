package nhi

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/yamldoc"
)

// MaxDocument is the most bytes of a document that is read.
const MaxDocument = 64 << 20

// maxFaults is the most problems of one document that are listed.
const maxFaults = 50

// Problem is one thing that is wrong with a document, with the line that it is in.
type Problem struct {
	// Line and Column count from 1; 0 where the document as a whole is meant.
	Line, Column int
	Path, Text   string
	// Shown is the line, as far as it fits.
	Shown string
	// Mark is where in Shown the problem begins, from 0; -1 for the whole line.
	Mark int
}

// DocumentError says everything that is wrong with a document.
type DocumentError struct {
	Source   string
	Problems []Problem
	// More were found and are not listed.
	More int
}

// Error returns a list with a caret under each place.
func (e *DocumentError) Error() string {
	var out strings.Builder
	total := len(e.Problems) + e.More
	if total == 1 {
		fmt.Fprintf(&out, "%s: 1 problem", e.Source)
	} else {
		fmt.Fprintf(&out, "%s: %d problems", e.Source, total)
	}
	for _, one := range e.Problems {
		out.WriteString("\n  ")
		if one.Line > 0 {
			fmt.Fprintf(&out, "line %d: ", one.Line)
		}
		if one.Path != "" {
			out.WriteString(one.Path + ": ")
		}
		out.WriteString(one.Text)
		if one.Shown != "" {
			out.WriteString("\n    " + one.Shown)
			if one.Mark >= 0 {
				out.WriteString("\n    " + strings.Repeat(" ", one.Mark) + "^")
			}
		}
	}
	if e.More > 0 {
		fmt.Fprintf(&out, "\n  and %d more", e.More)
	}
	return out.String()
}

// refused makes of a document's error one for whoever gave it; nil stays nil.
func refused(err error) error {
	if err == nil {
		return nil
	}
	return &attestd.CallerError{
		Class: attestd.ClassMalformed, Hint: "mend the lines; docs/inventory.md has the form of each document",
		Err: err,
	}
}

// faults collects what is wrong with a document, and shows its lines.
type faults struct {
	source string
	lines  []string
	list   []Problem
	more   int
}

func faultsOf(source string, document []byte) *faults {
	return &faults{source: sourceName(source), lines: strings.Split(string(document), "\n")}
}

// sourceName is how a document is named in messages and records: where it lies on somebody's
// machine is nobody's business.
func sourceName(source string) string {
	name := attestd.Excerpt(path.Base(source), 60)
	if source == "" || source == "-" {
		return "standard input"
	}
	return name
}

// width is how much of a line is shown.
const width = 76

func (f *faults) add(line, column int, where, text string) {
	if len(f.list) == maxFaults {
		f.more++
		return
	}
	one := Problem{Line: line, Column: column, Path: where, Text: text, Mark: -1}
	if line >= 1 && line <= len(f.lines) {
		one.Shown, one.Mark = cutLine(strings.TrimRight(f.lines[line-1], "\r"), column)
	}
	f.list = append(f.list, one)
}

// cutLine returns the part of a line around a column, and where in it the column is. Whatever does
// not show is a question mark of its own width, so that the mark stands right.
func cutLine(line string, column int) (shown string, mark int) {
	runes := []rune(line)
	if column > len(runes)+1 || column < 1 {
		return strings.TrimRight(attestd.Excerpt(line, width-3), " "), -1
	}
	from := 0
	if column > width-20 {
		from = column - width/2
	}
	to := min(len(runes), from+width)
	return attestd.Excerpt(string(runes[from:to]), width), column - 1 - from
}

// take takes over what yamldoc found.
func (f *faults) take(err error) {
	var found *yamldoc.Error
	if !errors.As(err, &found) {
		return
	}
	for _, one := range found.Problems {
		f.add(one.Line, one.Column, one.Path, one.Text)
	}
	f.more += found.More
}

func (f *faults) err() error {
	if len(f.list) == 0 {
		return nil
	}
	slices.SortStableFunc(f.list, func(a, b Problem) int { return a.Line - b.Line })
	return refused(&DocumentError{Source: f.source, Problems: f.list, More: f.more})
}

// places are records with where each stands, so that what is wrong with one is shown there.
type places struct {
	faults  *faults
	records []Record
	seen    map[string]int
}

func placesOf(f *faults) *places { return &places{faults: f, seen: map[string]int{}} }

// take keeps a record that has no fault. Column tells where a field stands, 0, 0 for the record's
// line.
func (p *places) take(one Record, line, column int, where string, at func(field string) (line, column int)) {
	one.Tidy()
	found := one.Check()
	for _, fault := range found {
		line, column := line, column
		field, _, _ := strings.Cut(fault.Field, "[")
		if l, c := at(field); l > 0 {
			line, column = l, c
		}
		p.faults.add(line, column, join(where, fault.Field), fault.Text)
	}
	if first, double := p.seen[Fold(one.ID)]; double {
		p.faults.add(line, column, join(where, "id"), fmt.Sprintf("%q stands twice, first in line %d",
			attestd.Excerpt(one.ID, 80), first))
		return
	}
	p.seen[Fold(one.ID)] = line
	if len(found) == 0 {
		p.records = append(p.records, one)
	}
}

// done returns the records, or everything that is wrong.
func (p *places) done() ([]Record, error) {
	if err := p.faults.err(); err != nil {
		return nil, err
	}
	if len(p.records) == 0 {
		p.faults.add(0, 0, "", "has no record of anybody")
		return nil, p.faults.err()
	}
	return p.records, nil
}

func join(where, field string) string {
	if where == "" {
		return field
	}
	return where + "." + field
}

// tooLarge refuses a document before anything reads it.
func tooLarge(source string, document []byte) error {
	f := &faults{source: sourceName(source)}
	switch {
	case len(document) > MaxDocument:
		f.add(0, 0, "", fmt.Sprintf("got %d bytes, want at most %d", len(document), MaxDocument))
	case !utf8.Valid(document):
		f.add(0, 0, "", "is not UTF-8")
	}
	return f.err()
}
