package report

import (
	"fmt"
	"io"
	"strings"
)

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Table writes a title line, rows in columns under headings, and the next command. Cells that do not
// fit make the last column wrap; the other columns are as wide as their widest cell. Lead is written
// first, word by word as segments; its first word may carry the verdict's colour.
type Table struct {
	Lead  []string
	Good  bool // colours the first word of Lead
	Bad   bool
	Heads []string
	Rows  [][]string
	// Notes are written below the rows, each on lines of its own.
	Notes []string
	Next  string
}

// Text writes the table.
func (t Table) Text(w io.Writer, page Page) error {
	s := &sheet{page: page}
	style := ""
	switch {
	case t.Bad:
		style = styleBad
	case t.Good:
		style = styleGood
	}
	s.lead(style, t.Lead...)
	if len(t.Rows) > 0 {
		s.blank()
		t.rows(s)
	}
	if len(t.Notes) > 0 {
		s.blank()
		for _, note := range t.Notes {
			s.row(0, 0, "", Clean(note, 2*longestValue))
		}
	}
	if t.Next != "" {
		s.blank()
		s.next(t.Next)
	}
	return s.writeTo(w)
}

func (t Table) rows(s *sheet) {
	widths := make([]int, len(t.Heads))
	for _, row := range append([][]string{t.Heads}, t.Rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], len(Clean(cell, longestValue)))
		}
	}
	// A column never takes more than a third of the page from those right of it.
	for i := range widths[:len(widths)-1] {
		widths[i] = min(widths[i], s.page.Columns()/3)
	}
	for _, row := range append([][]string{t.Heads}, t.Rows...) {
		t.row(s, widths, row)
	}
}

// row writes one row on as many lines as its tallest cell needs.
func (t Table) row(s *sheet, widths []int, row []string) {
	cells, tallest, used := make([][]string, len(row)), 1, 0
	for i, cell := range row {
		width := widths[i]
		if i == len(row)-1 {
			width = s.page.Columns() - used
		}
		cells[i] = wrap(Clean(cell, longestValue), width)
		tallest = max(tallest, len(cells[i]))
		used += width + 2
	}
	for line := range tallest {
		var out strings.Builder
		for i, parts := range cells {
			part := ""
			if line < len(parts) {
				part = parts[line]
			}
			if i < len(cells)-1 {
				fmt.Fprintf(&out, "%-*s  ", widths[i], part)
			} else {
				out.WriteString(part)
			}
		}
		s.put(out.String())
	}
}
