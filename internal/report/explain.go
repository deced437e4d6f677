package report

import (
	"io"
	"strings"

	"github.com/attestd/attestd/internal/explain"
)

// Schemas of what [ExplainJSON] and [ExplainListJSON] write.
const (
	ExplainSchema     = "attestd.explain.v1"
	ExplainListSchema = "attestd.explain-list.v1"
)

type explainDoc struct {
	Schema string `json:"schema"`
	explain.Entry
}

type explainListDoc struct {
	Schema  string          `json:"schema"`
	Entries []explain.Entry `json:"entries"`
}

// ExplainJSON writes one entry after the published schema.
func ExplainJSON(w io.Writer, entry explain.Entry) error {
	return JSON(w, explainDoc{ExplainSchema, entry})
}

// ExplainListJSON writes every entry after the published schema.
func ExplainListJSON(w io.Writer, entries []explain.Entry) error {
	if entries == nil {
		entries = []explain.Entry{}
	}
	return JSON(w, explainListDoc{ExplainListSchema, entries})
}

// ExplainText writes one entry for people.
func ExplainText(w io.Writer, page Page, entry explain.Entry) error {
	s := &sheet{page: page}
	s.lead("", entry.ID, string(entry.Kind))
	s.blank()
	const column = 9
	for _, part := range []struct{ label, text string }{
		{"title", entry.Title}, {"proves", entry.Proves}, {"why", entry.Why}, {"spec", entry.Spec},
		{"class", string(entry.Class)}, {"group", string(entry.Group)}, {"hint", entry.Hint},
	} {
		if part.text != "" && (part.label != "title" || part.text != entry.Proves) {
			s.row(0, column, part.label, Clean(part.text, 2*longestValue))
		}
	}
	s.blank()
	s.next(nextExplanation(entry))
	return s.writeTo(w)
}

func nextExplanation(entry explain.Entry) string {
	if entry.Class != "" && entry.ID != string(entry.Class) {
		return "attestd explain " + string(entry.Class)
	}
	return "attestd explain   # lists every id"
}

// ExplainList writes ids and titles for people, a block for each prefix.
func ExplainList(w io.Writer, page Page, entries []explain.Entry) error {
	s := &sheet{page: page}
	s.lead("", "EXPLAINS", plural(len(entries), "id", "ids"))
	column := 0
	for _, entry := range entries {
		column = max(column, len(entry.ID))
	}
	column = min(column, 36) + 2
	area := ""
	for _, entry := range entries {
		prefix, _, found := strings.Cut(entry.ID, "/")
		if !found {
			prefix = string(entry.Kind)
		}
		if prefix != area {
			s.blank()
			area = prefix
		}
		s.row(0, column, entry.ID, Clean(entry.Title, longestValue))
	}
	s.blank()
	s.next("attestd explain ID")
	return s.writeTo(w)
}
