package report

import (
	"encoding/hex"
	"fmt"
	"io"

	"github.com/attestd/attestd"
)

// InspectionSchema names the published schema of what [InspectionJSON] writes.
const InspectionSchema = "attestd.inspection.v1"

// Inspected is something decoded and not believed.
type Inspected struct {
	// Kind is a format's name, or what else it is: "x509-certificate", "x509-crl", "cbor".
	Kind string
	// Bytes is the length of the whole input, Digest its SHA-256.
	Bytes      int
	Digest     [32]byte
	Inspection attestd.Inspection
}

// inspectionDoc carries "unverified" in every field as well as at the top, so that no program that
// picks one field out can lose it.
type inspectionDoc struct {
	Schema     string            `json:"schema"`
	Unverified bool              `json:"unverified"`
	Kind       string            `json:"kind"`
	Summary    string            `json:"summary"`
	Bytes      int               `json:"bytes"`
	SHA256     string            `json:"sha256"`
	Fields     []inspectionField `json:"fields"`
}

type inspectionField struct {
	Unverified bool   `json:"unverified"`
	Name       string `json:"name"`
	Value      string `json:"value"`
	Note       string `json:"note,omitempty"`
}

// InspectionJSON writes what was decoded after the published schema.
func InspectionJSON(w io.Writer, seen Inspected) error {
	doc := inspectionDoc{
		Schema: InspectionSchema, Unverified: true, Kind: seen.Kind, Summary: seen.Inspection.Summary,
		Bytes: seen.Bytes, SHA256: hex.EncodeToString(seen.Digest[:]), Fields: []inspectionField{},
	}
	for _, field := range seen.Inspection.Fields {
		doc.Fields = append(doc.Fields, inspectionField{true, field.Name, field.Value, field.Note})
	}
	return JSON(w, doc)
}

// unverifiedMark stands before every line of an inspection: a line that was cut out by grep, or
// pasted into a ticket, still says that nobody checked it.
const unverifiedMark = "unverified  "

// InspectionText writes what was decoded for people, every line of it marked as unverified.
func InspectionText(w io.Writer, page Page, seen Inspected, next string) error {
	s := &sheet{page: page}
	what := Clean(seen.Kind, 40)
	if seen.Inspection.Summary != "" {
		what += " (" + Clean(seen.Inspection.Summary, 60) + ")"
	}
	s.lead(styleWarn, "UNVERIFIED", what, fmt.Sprintf("%d bytes", seen.Bytes),
		"sha256:"+hex.EncodeToString(seen.Digest[:4]),
		"nothing below was checked: no signature, chain, time or nonce")
	s.blank()
	column := 0
	for _, field := range seen.Inspection.Fields {
		column = max(column, len(Clean(field.Name, 60)))
	}
	column = min(column, 28)
	for _, field := range seen.Inspection.Fields {
		s.unverified(column, Clean(field.Name, 60), fieldValue(field))
	}
	s.blank()
	s.next(next)
	return s.writeTo(w)
}

func fieldValue(field attestd.InspectedField) string {
	value := Clean(field.Value, 8*longestValue)
	if value == "" {
		value = "(empty)"
	}
	if field.Note != "" {
		value += "   (" + Clean(field.Note, longestValue) + ")"
	}
	return value
}

// unverified writes one field; the mark stands on its continuation lines too.
func (s *sheet) unverified(column int, name, value string) {
	head := unverifiedMark + name
	if len(name) > column {
		for _, part := range wrap(name, s.page.Columns()-len(unverifiedMark)) {
			s.put(unverifiedMark + part)
		}
		head = unverifiedMark
	}
	room := len(unverifiedMark) + column + 2
	for _, part := range wrap(value, s.page.Columns()-room) {
		s.put(fmt.Sprintf("%-*s%s", room, head, part))
		head = unverifiedMark
	}
}
