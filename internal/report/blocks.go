package report

import "io"

// Block is one part of an answer: rows in columns, under headings where there are any.
type Block struct {
	Heads []string
	Rows  [][]string
}

// Blocks writes an answer of several parts: the first line, blocks of rows, notes, the next command.
type Blocks struct {
	Lead []string
	Good bool // colours the first word of Lead
	Bad  bool
	// Blocks without rows are left out.
	Blocks []Block
	Notes  []string
	Next   string
}

// Text writes the answer.
func (b Blocks) Text(w io.Writer, page Page) error {
	s := &sheet{page: page}
	style := ""
	switch {
	case b.Bad:
		style = styleBad
	case b.Good:
		style = styleGood
	}
	lead := make([]string, 0, len(b.Lead))
	for _, part := range b.Lead {
		if part != "" {
			lead = append(lead, Clean(part, longestValue))
		}
	}
	s.lead(style, lead...)
	for _, block := range b.Blocks {
		if len(block.Rows) > 0 {
			s.blank()
			block.write(s)
		}
	}
	if len(b.Notes) > 0 {
		s.blank()
		for _, note := range b.Notes {
			s.row(0, 0, "", Clean(note, 2*longestValue))
		}
	}
	if b.Next != "" {
		s.blank()
		s.next(Clean(b.Next, longestValue))
	}
	return s.writeTo(w)
}

func (b Block) write(s *sheet) {
	table := Table{Heads: b.Heads, Rows: b.Rows}
	if b.Heads != nil {
		table.rows(s)
		return
	}
	widths := make([]int, len(b.Rows[0]))
	for _, row := range b.Rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(Clean(cell, longestValue)))
		}
	}
	for i := range widths[:len(widths)-1] {
		widths[i] = min(widths[i], s.page.Columns()/3)
	}
	for _, row := range b.Rows {
		table.row(s, widths, row)
	}
}
