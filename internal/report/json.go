package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/attestd/attestd"
)

// JSON writes value as one indented document with a line feed at its end. Characters that mean
// something in HTML are escaped, so that a document can be put into a page as it is, and those that
// could steer a terminal.
func JSON(w io.Writer, value any) error {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	if _, err := w.Write(inert(out.Bytes())); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// inert spells what [attestd.Excerpt] replaces as \uXXXX: in JSON it stands within strings alone, and
// means the same. A verdict that another verifier gave was cleaned by nobody here, and encoding/json
// escapes the controls below U+0020 only; bytes that are no UTF-8 it takes over from a RawMessage.
func inert(document []byte) []byte {
	out := make([]byte, 0, len(document))
	for rest := document; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		text := string(rest[:size])
		switch {
		case r == utf8.RuneError && size <= 1:
			out = append(out, `\ufffd`...)
		case r >= 0x7f && attestd.Excerpt(text, 1) != text:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			out = append(out, text...)
		}
		rest = rest[size:]
	}
	return out
}

// ErrorSchema names the published schema of a [Problem].
const ErrorSchema = "attestd.error.v1"

// Problem is an error as programs read it: one line of JSON on standard error.
type Problem struct {
	Schema string        `json:"schema"`
	Class  attestd.Class `json:"class"`
	// Error says what was seen and wanted, Hint what to do.
	Error string `json:"error"`
	Hint  string `json:"hint"`
	// ExitCode is the one the command ends with.
	ExitCode int `json:"exit_code"`
}

// ProblemJSON writes p on one line.
func ProblemJSON(w io.Writer, p Problem) error {
	p.Schema = ErrorSchema
	line, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode an error: %w", err)
	}
	if _, err := w.Write(append(inert(line), '\n')); err != nil {
		return fmt.Errorf("write an error: %w", err)
	}
	return nil
}

// ProblemText writes p in two lines of words, wrapped to the page: the error, then its hint.
func ProblemText(w io.Writer, page Page, p Problem) error {
	s := &sheet{page: page}
	label := "error:"
	for line := range strings.SplitSeq(p.Error, "\n") { // a document's problems come a line each
		text := strings.TrimLeft(line, " ")
		s.row(0, 7+min(8, len(line)-len(text)), label, Clean(text, 2*longestValue))
		label = ""
	}
	s.row(0, 7, "hint:", Clean(p.Hint, longestValue))
	s.page.Quiet = false
	return s.writeTo(w)
}

// Remark writes one labelled line of words that is not the answer, wrapped to the page.
func Remark(w io.Writer, page Page, label, text string) error {
	s := &sheet{page: page}
	s.row(0, len(label)+2, label+":", Clean(text, longestValue))
	s.page.Quiet = false
	return s.writeTo(w)
}
