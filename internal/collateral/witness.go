package collateral

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// A folder that is replaced by an older copy of itself forgets how far its lists had come, and nothing in
// it shows that. So an open store remembers it, and refuses a folder that is behind; and a record outside
// of the folder, which names the number and date of each list and document, does the same from one process
// to the next.

const witnessForm = "attestd.collateral-floors.v1"

// record is the document of a witness.
type record struct {
	Form  string     `json:"form"`
	Lists []listSeen `json:"lists"`
	// Documents is absent where there never was one.
	Documents []documentSeen `json:"documents,omitempty"`
}

// documentSeen is how far the documents of one channel and subject had come.
type documentSeen struct {
	Channel    Channel   `json:"channel"`
	Subject    string    `json:"subject"`
	Evaluation uint64    `json:"evaluation"`
	From       time.Time `json:"issue_date"`
}

// listSeen is how far the lists of one issuer and scope had come.
type listSeen struct {
	Format     attestd.Format `json:"format"`
	Issuer     string         `json:"issuer"`
	IssuerName string         `json:"issuer_name"`
	Scope      string         `json:"scope"`
	Number     string         `json:"number"`
	From       time.Time      `json:"this_update"`
}

// Witness compares the folder with the record in a file outside of it, of how far the lists had come when
// it was last read, and keeps the record from then on, each time the folder is read. Where there is no
// record it begins.
//
// Errors: a *attestd.CallerError of class CONFIG where the folder is behind the record, or the record
// cannot be read.
func (s *Store) Witness(path string) error {
	read, documents, err := readRecord(path)
	if err != nil {
		return unfit(fmt.Errorf("the record of collateral %q cannot be read: %w", attestd.Excerpt(path, 200), err),
			"put it back from a backup; without it an older collateral folder would pass for the newest")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, row := range read {
		if last, known := s.seen[key]; !known || isBehind(last, row) != nil {
			s.seen[key] = row
		}
	}
	for key, row := range documents {
		if last, known := s.seenDocs[key]; !known || last.isBehind(row) != nil {
			s.seenDocs[key] = row
		}
	}
	if err := s.behind(s.ledger, path); err != nil {
		return err
	}
	s.witness = path
	return s.writeRecord()
}

// witnessed refuses a ledger that is behind what was seen of the folder, and otherwise remembers it. The
// caller holds mu.
func (s *Store) witnessed(read ledger) error {
	if err := s.behind(read, s.witness); err != nil {
		return err
	}
	moved := false
	for _, row := range read.Lists {
		last, known := s.seen[row.key()]
		moved = moved || !known || last.Number != row.Number || !last.From.Equal(row.From)
		s.seen[row.key()] = row
	}
	for _, row := range read.Documents {
		last, known := s.seenDocs[row.key()]
		moved = moved || !known || last.Evaluation != row.Evaluation || !last.From.Equal(row.From)
		s.seenDocs[row.key()] = row
	}
	if !moved || s.witness == "" {
		return nil
	}
	return s.writeRecord()
}

// behind says what of a ledger is behind what was seen.
func (s *Store) behind(read ledger, path string) error {
	held := make(map[string]listRow, len(read.Lists))
	for _, row := range read.Lists {
		held[row.key()] = row
	}
	for _, key := range slices.Sorted(maps.Keys(s.seen)) {
		last := s.seen[key]
		row, there := held[key]
		err := fmt.Errorf("it has no list any more of %q", attestd.Excerpt(last.IssuerName, 80))
		if there {
			err = isBehind(row, last)
		}
		if err != nil {
			return olderCopy(err, path)
		}
	}
	documents := make(map[string]documentRow, len(read.Documents))
	for _, row := range read.Documents {
		documents[row.key()] = row
	}
	for _, key := range slices.Sorted(maps.Keys(s.seenDocs)) {
		last := s.seenDocs[key]
		row, there := documents[key]
		err := fmt.Errorf("it has no %s any more of %s", last.kind(), attestd.Excerpt(last.name(), 80))
		if there {
			err = row.isBehind(last)
		}
		if err != nil {
			return olderCopy(err, path)
		}
	}
	return nil
}

func olderCopy(err error, path string) error {
	hint := "put the newest copy of the collateral folder back"
	if path != "" {
		hint += "; if this one is meant to be used, remove " + attestd.Excerpt(path, 200) +
			" and restart: what was revoked since is then not known until it is imported again"
	}
	return unfit(fmt.Errorf("the collateral folder is an older copy: %w", err), hint)
}

// isBehind says in what a list is behind another of the same issuer and scope.
func isBehind(row, last listRow) error {
	name := attestd.Excerpt(last.IssuerName, 80)
	switch {
	case strings.Compare(padded(row.Number), padded(last.Number)) < 0:
		return fmt.Errorf("its list of %q has number %s, and %s was seen", name, decimal(row.Number),
			decimal(last.Number))
	case row.From.Before(last.From):
		return fmt.Errorf("its list of %q is of %s, and one of %s was seen", name,
			row.From.Format(time.RFC3339), last.From.Format(time.RFC3339))
	}
	return nil
}

func readRecord(path string) (map[string]listRow, map[string]documentRow, error) {
	document, err := readFile(path, maxLedger)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	var read record
	if err := strict.DecodeJSON(document, strict.JSONLimits{Bytes: maxLedger, Depth: 4}, &read); err != nil {
		return nil, nil, err
	}
	if read.Form != witnessForm {
		return nil, nil, fmt.Errorf("form %q, want %q", attestd.Excerpt(read.Form, 40), witnessForm)
	}
	seen := map[string]listRow{}
	for _, one := range read.Lists {
		if !isDigest(one.Issuer) || !isNumber(one.Number) || one.Format == "" || one.From.IsZero() {
			return nil, nil, errors.New("a list without issuer, number or date")
		}
		row := listRow{
			Format: one.Format, Issuer: one.Issuer, IssuerName: one.IssuerName, Scope: one.Scope,
			Number: one.Number, From: one.From,
		}
		seen[row.key()] = row
	}
	documents := map[string]documentRow{}
	for _, one := range read.Documents {
		if _, err := ParseChannel(string(one.Channel)); err != nil || !isSubject(one.Subject) || one.From.IsZero() {
			return nil, nil, errors.New("a document without channel, subject or date")
		}
		row := documentRow{Channel: one.Channel, Subject: one.Subject, Evaluation: one.Evaluation, From: one.From}
		documents[row.key()] = row
	}
	return seen, documents, nil
}

// writeRecord puts the record in place. The caller holds mu.
func (s *Store) writeRecord() error {
	written := record{Form: witnessForm, Lists: []listSeen{}}
	for _, key := range slices.Sorted(maps.Keys(s.seen)) {
		row := s.seen[key]
		written.Lists = append(written.Lists, listSeen{
			row.Format, row.Issuer, row.IssuerName, row.Scope, row.Number, row.From,
		})
	}
	for _, key := range slices.Sorted(maps.Keys(s.seenDocs)) {
		row := s.seenDocs[key]
		written.Documents = append(written.Documents, documentSeen{
			row.Channel, row.Subject, row.Evaluation, row.From,
		})
	}
	document, err := json.MarshalIndent(written, "", " ")
	if err == nil {
		err = writeWhole(s.witness, append(document, '\n'))
	}
	if err != nil {
		return fmt.Errorf("the record of collateral: %w", err)
	}
	return nil
}
