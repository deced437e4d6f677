// Package explain says in words what every check, error class, group of reasons, fact, reason of a
// subject's risk, reason of a denial and condition means.
//
// What comes in is an id as it stands in a verdict. What is true if [Lookup] finds it: the entry is
// made from the same table that the check itself is made from, so it cannot speak of another one.
// What is not shown is anything about a particular verdict.
package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/yamldoc"
)

// Kind of an entry.
type Kind string

// Kinds of entries, in the order in which they are listed.
const (
	KindCheck Kind = "check"
	KindClass Kind = "class"
	KindFact  Kind = "fact"
	KindGroup Kind = "group"
)

// Entry explains one id.
type Entry struct {
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	// Title is one line.
	Title string `json:"title"`
	// Proves says what is true when a check passes; empty for others.
	Proves string `json:"proves,omitempty"`
	// Why says what an attacker gains without it, or what it means.
	Why   string        `json:"why"`
	Spec  string        `json:"spec,omitempty"`
	Hint  string        `json:"hint"`
	Class attestd.Class `json:"class,omitempty"`
	Group attestd.Group `json:"group,omitempty"`
}

// Lookup returns the entry with exactly that id.
func Lookup(id string) (Entry, bool) {
	at, found := slices.BinarySearchFunc(sortedByID(), id, func(e Entry, id string) int {
		return cmp.Compare(e.ID, id)
	})
	if !found {
		return Entry{}, false
	}
	return sortedByID()[at], true
}

// All returns every entry: checks in the order in which they run, then classes, facts,
// groups, reasons of a subject's risk, reasons of denials, and conditions.
func All() []Entry { return slices.Clone(entries()) }

// maxSuggestions bounds what Suggest returns; no id is nearly as long as longestID.
const (
	maxSuggestions = 5
	longestID      = 60
)

// Suggest returns the ids that look like id, best first; none where nothing does.
func Suggest(id string) []string {
	type near struct {
		id       string
		distance int
	}
	var found []near
	wanted := strings.ToLower(id)
	if len(wanted) > longestID {
		return nil
	}
	for _, entry := range entries() {
		known := strings.ToLower(entry.ID)
		_, name, _ := strings.Cut(known, "/")
		switch distance := min(yamldoc.Distance(wanted, known), yamldoc.Distance(wanted, name)); {
		case wanted != "" && (known == wanted || name == wanted):
			found = append(found, near{entry.ID, 0})
		case distance <= len(wanted)/4+1 && len(wanted) > 2:
			found = append(found, near{entry.ID, distance})
		case len(wanted) > 2 && strings.Contains(known, wanted):
			found = append(found, near{entry.ID, 64})
		}
	}
	slices.SortStableFunc(found, func(a, b near) int { return a.distance - b.distance })
	var ids []string
	for _, near := range found[:min(len(found), maxSuggestions)] {
		ids = append(ids, near.id)
	}
	return ids
}

var entries = sync.OnceValue(func() []Entry {
	made := append(checkEntries(), classEntries()...)
	made = append(append(made, factEntries()...), groupEntries()...)
	made = append(append(made, subjectEntries()...), reasonEntries()...)
	return append(made, conditionEntries()...)
})

var sortedByID = sync.OnceValue(func() []Entry {
	return slices.SortedFunc(slices.Values(entries()), func(a, b Entry) int {
		return cmp.Compare(a.ID, b.ID)
	})
})

// built is the judge whose tables are explained. Where its compiled-in roots are broken, nothing of
// attestd starts; what there is to say about classes stays.
var built = sync.OnceValues(func() (*judge.Judge, error) { return judge.New(judge.Config{}) })

func checkEntries() []Entry {
	made, err := built()
	if err != nil {
		return nil
	}
	var out []Entry
	for _, spec := range made.Specs() {
		out = append(out, Entry{
			ID: string(spec.ID), Kind: KindCheck, Title: title(spec.Proves), Proves: spec.Proves, Why: spec.Why,
			Spec: spec.Spec, Hint: spec.Hint, Class: spec.Class, Group: spec.Group,
		})
	}
	return out
}

// title cuts a sentence to one line, between its parts.
func title(sentence string) string {
	const columns = 96
	for len(sentence) > columns {
		// A list that is cut within would seem whole.
		at := max(strings.LastIndex(sentence[:columns], "; "), strings.LastIndex(sentence[:columns], ": "))
		if at < 0 {
			at = strings.LastIndex(sentence[:columns], ", ")
		}
		if at < 0 {
			return attestd.Excerpt(sentence, columns)
		}
		sentence = sentence[:at]
	}
	return sentence
}

// factEntries has one entry per name; where formats mean different things by it, each is said.
func factEntries() []Entry {
	made, err := built()
	if err != nil {
		return nil
	}
	facts := made.Facts()
	at := make(map[string]int)
	var out []Entry
	for _, format := range made.Formats() {
		for _, fact := range facts[format] {
			said := fmt.Sprintf("in %s: %s (%s)", format, fact.Meaning, fact.Kind)
			if known, ok := at[fact.Name]; ok {
				out[known].Why += "; " + said
				continue
			}
			at[fact.Name] = len(out)
			out = append(out, Entry{
				ID: fact.Name, Kind: KindFact, Title: title(fact.Meaning), Why: said, Spec: fact.Spec,
				Hint: "see it, unverified, with `attestd inspect`; verified, in the claims of a verdict",
			})
		}
	}
	return out
}
