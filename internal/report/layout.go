package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/attestd/attestd"
)

// Widths of a page in columns. UX: no line over 100; below 60 the columns of a check do not fit.
const (
	MinWidth     = 60
	MaxWidth     = 100
	labelIndent  = 6
	labelWidth   = 6
	valueIndent  = labelIndent + labelWidth
	longestValue = 700 // runes of one value that are shown; evidence chooses some of these texts
)

// Page says how text is laid out.
type Page struct {
	// Width in columns; brought into MinWidth..MaxWidth, 0 is MaxWidth.
	Width int
	// Color marks verdicts and failures with terminal colours. Nothing is said by colour alone.
	Color bool
	// Quiet leaves the first line only, with its continuations where it does not fit the page.
	Quiet bool
}

// Columns returns the width that text on the page has at most.
func (p Page) Columns() int {
	if p.Width == 0 {
		return MaxWidth
	}
	return max(MinWidth, min(MaxWidth, p.Width))
}

// ANSI colours, used for the first word of a line alone.
const (
	styleGood = "\x1b[1;32m"
	styleBad  = "\x1b[1;31m"
	styleWarn = "\x1b[1;33m"
	styleOff  = "\x1b[0m"
)

// sheet collects lines. Every line goes through put, which is where the width and the alphabet are
// enforced; a line that would be longer is wrapped, never cut.
type sheet struct {
	page Page
	out  bytes.Buffer
	// led is the length of the text up to the end of its first line, continuations included.
	led int
}

func (s *sheet) blank() { s.out.WriteByte('\n') }

// put writes one line that is known to fit.
func (s *sheet) put(line string) {
	s.out.WriteString(strings.TrimRight(line, " "))
	s.out.WriteByte('\n')
}

// mark writes a line whose first word is coloured.
func (s *sheet) mark(style, line string) {
	if s.page.Color && style != "" {
		word, rest, _ := strings.Cut(line, " ")
		line = style + word + styleOff
		if rest != "" {
			line += " " + rest
		}
	}
	s.put(line)
}

// row writes "label value", the value at the column and wrapped with a hanging indent. A label that
// reaches beyond the column has lines of its own.
func (s *sheet) row(indent, column int, label, value string) {
	head := strings.Repeat(" ", indent) + label
	if column > 0 && len(head) >= column {
		for _, part := range wrap(label, s.page.Columns()-indent) {
			s.put(strings.Repeat(" ", indent) + part)
		}
		head = ""
	}
	head += strings.Repeat(" ", max(0, column-len(head)))
	for _, part := range wrap(value, s.page.Columns()-len(head)) {
		s.put(head + part)
		head = strings.Repeat(" ", len(head))
	}
}

// next writes the next command, the last thing of an answer. Where it does not fit on a line it is
// continued as a shell wants it, so that it can be pasted.
func (s *sheet) next(command string) {
	const label = "next     "
	if len(label)+len(command) > s.page.Columns() {
		command, _, _ = strings.Cut(command, "   # ") // a comment does not go on behind a backslash
	}
	parts := wrap(command, s.page.Columns()-len(label)-len(" \\"))
	for index, part := range parts {
		if index < len(parts)-1 {
			part += " \\"
		}
		if index == 0 {
			part = label + part
		} else {
			part = strings.Repeat(" ", len(label)) + part
		}
		s.put(part)
	}
}

// field writes one labelled value of a check.
func (s *sheet) field(label, value string) {
	if value != "" {
		s.row(labelIndent, valueIndent, label, value)
	}
}

// sides writes left and right on one line where both fit, on two where they do not.
func (s *sheet) sides(style, left, right string) {
	gap := s.page.Columns() - len(left) - len(right)
	if gap >= 2 || right == "" && gap >= 0 {
		s.mark(style, left+strings.Repeat(" ", max(0, gap))+right)
		return
	}
	for index, part := range wrap(left, s.page.Columns()-2) {
		if index == 0 {
			s.mark(style, part)
			continue
		}
		s.put("  " + part)
	}
	if right == "" {
		return
	}
	for _, part := range wrap(right, s.page.Columns()-valueIndent) {
		s.put(strings.Repeat(" ", valueIndent) + part)
	}
}

// lead writes the first line of an answer, which is what --quiet leaves.
func (s *sheet) lead(style string, parts ...string) {
	s.segments(style, 3, parts...)
	s.led = s.out.Len()
}

// segments writes parts three spaces apart, on as many lines as they need.
func (s *sheet) segments(style string, indent int, parts ...string) {
	const gap = "   "
	line, first := "", true
	flush := func() {
		if line == "" {
			return
		}
		if first {
			s.mark(style, line)
		} else {
			s.put(strings.Repeat(" ", indent) + line)
		}
		line, first = "", false
	}
	for _, part := range parts {
		room := s.page.Columns()
		if !first {
			room -= indent
		}
		if line != "" && len(line)+len(gap)+len(part) <= room {
			line += gap + part
			continue
		}
		flush()
		for _, piece := range wrap(part, s.page.Columns()-indent) {
			flush()
			line = piece
		}
	}
	flush()
}

func (s *sheet) writeTo(w io.Writer) error {
	text := s.out.Bytes()
	if s.page.Quiet {
		text = text[:s.led]
	}
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// Clean returns foreign text fit for a terminal: at most limit runes, control and reordering
// characters replaced (see attestd.Excerpt), everything beyond ASCII spelled \uXXXX so that a look-
// alike letter cannot pass for the one it looks like.
func Clean(text string, limit int) string {
	text = attestd.Excerpt(text, limit)
	var out strings.Builder
	for _, r := range text {
		if r > '~' {
			fmt.Fprintf(&out, "\\u%04x", r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

// wrap breaks text at spaces into lines of at most width columns; a longer word is cut. Text that
// fits is left as it is. It returns one line at least.
func wrap(text string, width int) []string {
	width = max(width, 8)
	if len(text) <= width {
		return []string{text}
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) <= width {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for len(word) > width {
			cut := width
			if comma := strings.LastIndexByte(word[:width], ','); comma > width/2 {
				cut = comma + 1 // names in certificates read better whole
			}
			lines = append(lines, word[:cut])
			word = word[cut:]
		}
		line = word
	}
	return append(lines, line)
}
