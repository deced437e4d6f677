package journal

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
)

// Judge decides about an input ([decision.Judge]).
type Judge func(in *decision.Input, set decision.PolicySet) decision.Result

// Replayed is what came of deciding again.
type Replayed struct {
	ID uuid.UUID `json:"policy_snapshot"`
	// Same says that the result is what it was, to the last field.
	Same        bool         `json:"same"`
	Differences []Difference `json:"differences"`
	// Result is the one of now.
	Result decision.Result `json:"result"`
}

// Difference is a field that is not what it was.
type Difference struct {
	Field string `json:"field"`
	// Was and Is are JSON; empty for a field that is not there.
	Was string `json:"was,omitempty"`
	Is  string `json:"is,omitempty"`
}

// Replay decides again about the input of a record. set is the policy set of the record's digest, or
// with another one what they would decide.
//
// Errors: [attestd.UndecidedError] for a record that has no input: a count, or one that could not be
// written whole.
func Replay(record *Record, set decision.PolicySet, judge Judge) (Replayed, error) {
	if record.Input == nil || record.Result == nil {
		return Replayed{}, &attestd.UndecidedError{
			Class: attestd.ClassPolicyUnavailable, Got: "a record without the input of the decision",
			Want: "one of a single decision", Hint: "attestd decision ls --reason " + string(record.Reason),
		}
	}
	in := *record.Input // policies cannot write to the record
	replayed := Replayed{ID: record.ID, Differences: []Difference{}, Result: judge(&in, set)}
	was, err := generic(record.Result)
	if err != nil {
		return Replayed{}, err
	}
	is, err := generic(&replayed.Result)
	if err != nil {
		return Replayed{}, err
	}
	replayed.Differences = differ(replayed.Differences, "", was, is)
	replayed.Same = len(replayed.Differences) == 0
	return replayed, nil
}

// generic returns a result as its JSON form is read: what was stored went through it, too.
func generic(result *decision.Result) (out any, err error) {
	document, err := json.Marshal(result)
	if err != nil {
		return nil, fmt.Errorf("a result cannot be written: %w", err)
	}
	return out, json.Unmarshal(document, &out)
}

// differ adds the fields in which two JSON values differ, the deepest that are comparable.
func differ(found []Difference, path string, was, is any) []Difference {
	switch before := was.(type) {
	case map[string]any:
		after, ok := is.(map[string]any)
		if !ok {
			break
		}
		names := slices.Collect(maps.Keys(before))
		for name := range after {
			if _, both := before[name]; !both {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			one, there := before[name]
			other, here := after[name]
			below := name
			if path != "" {
				below = path + "." + name
			}
			switch {
			case there && here:
				found = differ(found, below, one, other)
			case there:
				found = append(found, Difference{Field: below, Was: text(one)})
			default:
				found = append(found, Difference{Field: below, Is: text(other)})
			}
		}
		return found
	case []any:
		after, ok := is.([]any)
		if !ok || len(after) != len(before) {
			break
		}
		for index := range before {
			found = differ(found, path+"["+strconv.Itoa(index)+"]", before[index], after[index])
		}
		return found
	}
	if one, other := text(was), text(is); one != other {
		found = append(found, Difference{Field: path, Was: one, Is: other})
	}
	return found
}

func text(value any) string {
	document, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value) // it was read from JSON: it can be written
	}
	return string(document)
}
