package measurements

import (
	"iter"

	"github.com/attestd/attestd"
)

// Index finds the reference value that evidence matches, in a time that does not grow with their
// number. A nil Index holds nothing and matches nothing. It is immutable and safe for concurrent
// use.
type Index struct {
	sets []*Set
}

// Match says what an Index knows about measured registers. The zero Match is not found.
type Match struct {
	// Found says that every register of an active or retiring value is equal in the evidence.
	Found bool
	// Loaded counts the active and retiring values of the format; 0 means that there was nothing to
	// compare with.
	Loaded int
	// Label of the set and Value within it: the match, or the closest known where none was found;
	// empty where nothing is close.
	Label, Value string
	State        State
	// Differs of Registers registers are not equal in the closest known value.
	Differs, Registers int
}

// NewIndex returns an index over sets.
func NewIndex(sets ...*Set) (*Index, error) { return &Index{sets: sets}, nil }

// Match looks registers up.
func (x *Index) Match(format attestd.Format, registers iter.Seq[attestd.Register]) Match {
	return Match{}
}

// Sets returns what the index was made from.
func (x *Index) Sets() []*Set {
	if x == nil {
		return nil
	}
	return x.sets
}
