package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// leafSchema begins every leaf, so that one can never be read as anything else that is signed or
// hashed here.
const leafSchema = "attestd.audit.v1"

// Most bytes of a record's texts. What callers chose is cut, not refused: a reason of a megabyte must
// neither keep a quarantine from being carried out nor fill the disk.
const (
	maxTarget  = 2048 + 64 // the longest SPIFFE ID, with a word before it
	maxReason  = 1024
	maxWord    = 256
	maxName    = 64
	maxDetails = 16

	// maxLeaf is what the entry bundles of C2SP tlog-tiles can hold of one leaf. JSON can make six bytes
	// of one; all of the above together stay below it even then.
	maxLeaf = 1<<16 - 1
)

type leaf struct {
	Schema string `json:"schema"`
	Record
}

// Encode returns the leaf of a record: JSON with its keys in one order, times in UTC, texts cut to
// their limits. Equal records have equal leaves.
//
// Errors: where the record says not when, who, what or how it ended. What is in the log without those
// is no record of anything.
func Encode(record Record) ([]byte, error) {
	if record.At.IsZero() || record.Actor == "" || record.Action == "" || record.Outcome == "" {
		return nil, fmt.Errorf("audit record without %s", strings.Join(missing(record), ", "))
	}
	encoded, err := json.Marshal(leaf{Schema: leafSchema, Record: cut(record)})
	if err != nil {
		return nil, fmt.Errorf("audit record: %w", err)
	}
	if len(encoded) > maxLeaf {
		return nil, fmt.Errorf("audit record of %d bytes, want at most %d", len(encoded), maxLeaf)
	}
	return encoded, nil
}

func missing(record Record) []string {
	var names []string
	for name, there := range map[string]bool{
		"a time": !record.At.IsZero(), "an actor": record.Actor != "", "an action": record.Action != "",
		"an outcome": record.Outcome != "",
	} {
		if !there {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// cut returns the record as it is kept.
func cut(record Record) Record {
	record.At = record.At.UTC()
	if !record.Last.IsZero() {
		record.Last = record.Last.UTC()
	}
	for text, most := range map[*string]int{
		&record.Actor: maxWord, &record.Via: maxWord, &record.Tenant: maxWord, &record.Action: maxWord,
		&record.Target: maxTarget, &record.Outcome: maxWord, &record.Class: maxWord,
		&record.Reason: maxReason, &record.Ticket: maxWord,
	} {
		*text = clip(*text, most)
	}
	if len(record.Detail) == 0 {
		record.Detail = nil
		return record
	}
	detail := make(map[string]string, min(len(record.Detail), maxDetails))
	for _, name := range slices.Sorted(maps.Keys(record.Detail)) {
		if len(detail) == maxDetails {
			break
		}
		detail[clip(name, maxName)] = clip(record.Detail[name], maxWord)
	}
	record.Detail = detail
	return record
}

// clip cuts text to at most so many bytes, between two letters, and makes it UTF-8: what is read back
// is then what was written.
func clip(text string, most int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= most {
		return text
	}
	const sign = "..."
	end := most - len(sign)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + sign
}

// Decode reads a leaf back. Only what [Encode] writes is read: two spellings of one record would let
// one say to people what the other says to programs.
func Decode(data []byte) (Record, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var read leaf
	if err := decoder.Decode(&read); err != nil {
		return Record{}, fmt.Errorf("audit leaf: %w", err)
	}
	if read.Schema != leafSchema {
		return Record{}, fmt.Errorf("audit leaf of schema %.40q, want %q", read.Schema, leafSchema)
	}
	again, err := Encode(read.Record)
	if err != nil {
		return Record{}, err
	}
	if !bytes.Equal(again, data) {
		return Record{}, errors.New("audit leaf is not in its one form")
	}
	return read.Record, nil
}
