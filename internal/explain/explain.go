// Package explain says in words what every check, error class and fact means.
package explain

import "github.com/attestd/attestd"

// Kind of an entry.
type Kind string

// Kinds of entries.
const (
	KindCheck Kind = "check"
	KindClass Kind = "class"
	KindFact  Kind = "fact"
)

// Entry explains one id.
type Entry struct {
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	// Title is one line.
	Title string `json:"title"`
	// Proves says what is true when a check passes; empty for others.
	Proves string `json:"proves,omitempty"`
	// Why says what an attacker gains without it.
	Why   string        `json:"why"`
	Spec  string        `json:"spec,omitempty"`
	Hint  string        `json:"hint"`
	Class attestd.Class `json:"class,omitempty"`
	Group attestd.Group `json:"group,omitempty"`
}

// Lookup returns the entry with exactly that id.
func Lookup(id string) (Entry, bool) { return Entry{}, false }

// Suggest returns the ids that look like id, best first.
func Suggest(id string) []string { return nil }

// All returns every entry, ordered by kind and id.
func All() []Entry { return nil }
