package nhi

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/yamldoc"
)

// ParseCSV reads a table (RFC 4180): the first line names the columns, each once and "id" among
// them, in any order; every other line is a record. Ids in tools and datasets are parted by single
// spaces. A byte order mark at the beginning, as spreadsheets write it, is passed over.
//
// Errors: as those of [ParseYAML].
func ParseCSV(source string, document []byte) ([]Record, error) {
	if err := tooLarge(source, document); err != nil {
		return nil, err
	}
	document = bytes.TrimPrefix(document, []byte("\ufeff"))
	f := faultsOf(source, document)
	reader := csv.NewReader(bytes.NewReader(document))
	columns, err := reader.Read()
	if err != nil {
		f.broken(err)
		return nil, f.err()
	}
	f.columns(reader, columns)
	if err := f.err(); err != nil {
		return nil, err
	}
	found := placesOf(f)
	for {
		row, err := reader.Read()
		switch {
		case errors.Is(err, io.EOF):
			return found.done()
		case errors.Is(err, csv.ErrFieldCount):
			line, _ := reader.FieldPos(0)
			f.add(line, 0, "", fmt.Sprintf("got %d cells, want %d", len(row), len(columns)))
			continue
		case err != nil:
			// Behind a broken quote nothing is where it seems to be.
			f.broken(err)
			return nil, f.err()
		}
		found.takeRow(reader, columns, row)
	}
}

func (f *faults) broken(err error) {
	var syntax *csv.ParseError
	switch {
	case errors.As(err, &syntax):
		f.add(syntax.Line, syntax.Column, "", syntax.Err.Error())
	case errors.Is(err, io.EOF):
		f.add(0, 0, "", "is empty")
	default:
		f.add(0, 0, "", attestd.Excerpt(err.Error(), 80))
	}
}

func (f *faults) columns(reader *csv.Reader, columns []string) {
	known := FieldNames()
	for i, name := range columns {
		line, column := reader.FieldPos(i)
		switch {
		case !slices.Contains(known, name):
			f.add(line, column, "", fmt.Sprintf("unknown column %q%s", attestd.Excerpt(name, 40),
				yamldoc.DidYouMean(name, known)))
		case slices.Index(columns, name) != i:
			f.add(line, column, "", fmt.Sprintf("column %q stands twice", name))
		}
	}
	if !slices.Contains(columns, "id") {
		f.add(1, 0, "", "has no column \"id\"")
	}
}

func (p *places) takeRow(reader *csv.Reader, columns, row []string) {
	one := Record{Source: "file:" + p.faults.source}
	for i, text := range row {
		if columns[i] == "id" {
			one.ID = text
			continue
		}
		for _, field := range fields {
			switch {
			case field.name != columns[i] || text == "":
			case field.text != nil:
				*field.text(&one) = text
			default:
				*field.list(&one) = strings.Split(text, " ")
			}
		}
	}
	line, column := reader.FieldPos(0)
	p.take(one, line, column, "", func(field string) (line, column int) {
		if i := slices.Index(columns, field); i >= 0 {
			return reader.FieldPos(i)
		}
		return 0, 0
	})
}
