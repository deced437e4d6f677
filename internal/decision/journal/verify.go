package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/attestd/attestd"
)

// Verified is what was found about all records of a folder.
type Verified struct {
	Segments int   `json:"segments"`
	Records  int64 `json:"records"`
	// Folded counts the decisions that stand in counts of alike ones.
	Folded int64 `json:"folded"`
	Bytes  int64 `json:"bytes"`
	// First and Last are the times of the oldest and the newest record.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	// Sealed counts the segments that a seal from elsewhere was compared with.
	Sealed int `json:"sealed"`
	// Policies are the digests that records name.
	Policies []string `json:"policies"`
	// Problems are what is not as it was written, the first 100; Total counts all.
	Problems []Problem `json:"problems"`
	Total    int       `json:"problems_total"`
}

// Problem is one thing that is not as it was written.
type Problem struct {
	Segment string `json:"segment,omitempty"`
	// Line counts from 1; 0 is the whole segment.
	Line int    `json:"line,omitempty"`
	What string `json:"what"`
}

const mostProblems = 100

// verification is [Reader.Verify] at work.
type verification struct {
	out      Verified
	policies map[string]bool
	// before is the segment before this one, as it is now.
	before Seal
}

func (v *verification) problem(segment string, line int, format string, args ...any) {
	v.out.Total++
	if len(v.out.Problems) < mostProblems {
		v.out.Problems = append(v.out.Problems, Problem{
			Segment: segment, Line: line, What: attestd.Excerpt(fmt.Sprintf(format, args...), 200),
		})
	}
}

// Verify reads every record and compares every segment with what the next one, and seals from elsewhere,
// say that it was. That the newest records were not taken away only seals from elsewhere show.
//
// Errors: where the folder cannot be read. What is wrong in it is no error.
func (r *Reader) Verify(ctx context.Context, seals []Seal) (Verified, error) {
	all, err := segments(filepath.Join(r.folder, segmentFolder))
	if err != nil {
		return Verified{}, err
	}
	v := verification{policies: map[string]bool{}, out: Verified{Policies: []string{}, Problems: []Problem{}}}
	known := map[string]Seal{}
	for _, seal := range seals {
		// One is sealed again at a restart. What was changed in between must not pass for it.
		first, sealed := known[seal.Segment]
		if sealed && first.SHA256 != seal.SHA256 {
			v.problem(seal.Segment, 0, "the audit log has two digests of it")
		}
		if !sealed {
			known[seal.Segment] = seal
		}
	}
	for index, one := range all {
		if err := ctx.Err(); err != nil {
			return Verified{}, err
		}
		content, err := r.content(one)
		if err != nil {
			return Verified{}, err
		}
		if index > 0 && one.number != all[index-1].number+1 {
			v.problem(one.name, 0, "segments %d to %d are gone", all[index-1].number+1, one.number-1)
		}
		v.segment(one, content, index == len(all)-1)
		if seal, sealed := known[one.name]; sealed {
			v.out.Sealed++
			if seal.SHA256 != v.before.SHA256 {
				v.problem(one.name, 0, "its digest is not the one that the audit log has")
			}
			delete(known, one.name)
		}
	}
	v.gone(all, known)
	v.out.Policies = append(v.out.Policies, slices.Sorted(maps.Keys(v.policies))...)
	for _, digest := range v.out.Policies {
		if _, err := r.Policies(digest); err != nil {
			v.problem("", 0, "the policies %s are not kept: what they decided cannot be replayed", digest)
		}
	}
	return v.out, nil
}

// gone names the seals whose segments are not there though older ones are: bounds delete the oldest.
func (v *verification) gone(all []segment, sealed map[string]Seal) {
	for _, name := range slices.Sorted(maps.Keys(sealed)) {
		one, ok := parseSegment(name)
		if ok && (len(all) == 0 || one.number > all[0].number) {
			v.problem(name, 0, "the audit log has it, and it is gone")
		}
	}
}

func (v *verification) segment(one segment, content []byte, newest bool) {
	v.out.Segments++
	v.out.Bytes += int64(len(content))
	sum := sha256.Sum256(content)
	seal := Seal{Segment: one.name, SHA256: hex.EncodeToString(sum[:])}
	for number := 1; len(content) > 0; number++ {
		line, rest, ended := bytes.Cut(content, []byte{'\n'})
		content = rest
		switch {
		case !ended && newest:
			// It is being written, or a crash has left it: what opens the journal next cuts it.
		case !ended:
			v.problem(one.name, number, "it ends within a record")
		case number == 1:
			v.head(one, line)
		default:
			v.record(one, number, line)
		}
	}
	v.before = seal
}

func (v *verification) head(one segment, line []byte) {
	var h head
	if err := json.Unmarshal(line, &h); err != nil || h.Schema != SegmentSchema || h.Number != one.number {
		v.problem(one.name, 1, "it does not begin as segment %d does", one.number)
		return
	}
	switch {
	case v.before.Segment == "" || h.Previous == "":
		// The oldest that is left, or one behind a crash, which had nobody to name what it left.
	case h.Previous != v.before.Segment:
		v.problem(one.name, 1, "it follows %s, which is gone", h.Previous)
	case h.PreviousSHA256 != v.before.SHA256:
		v.problem(v.before.Segment, 0, "it was changed: %s says that its digest was another", one.name)
	}
}

func (v *verification) record(one segment, number int, line []byte) {
	record, err := parse(line)
	if err != nil {
		v.problem(one.name, number, "no record: %v", err)
		return
	}
	v.out.Records++
	v.out.Folded += record.Count
	if record.Policy != "" {
		v.policies[record.Policy] = true
	}
	if v.out.First.IsZero() || record.At.Before(v.out.First) {
		v.out.First = record.At
	}
	if record.At.After(v.out.Last) {
		v.out.Last = record.At
	}
}
