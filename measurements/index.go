package measurements

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"

	"github.com/attestd/attestd"
)

// maxClose bounds how many values with one and the same register are looked at to name the closest.
const maxClose = 8

// maxLayouts bounds how many different choices of registers the values of one format name: each is
// looked up for each piece of evidence (16,000 of them took 90 ms).
const maxLayouts = 64

// Index finds the reference value that evidence matches, in a time that does not grow with their
// number. A nil Index holds nothing and matches nothing. It is immutable and safe for concurrent
// use.
type Index struct {
	sets    []*Set
	formats map[attestd.Format]*formatIndex
}

// formatIndex holds the values of one format. Values that name the same registers share a layout;
// there are few layouts, and within one a value is found by the digest of all its registers.
type formatIndex struct {
	layouts []*layout
	// near finds values by one register, to say what evidence comes close to.
	near   map[string][]place
	loaded int
}

type layout struct {
	names  []string // sorted
	values map[[sha256.Size]byte]place
}

type place struct {
	set   *Set
	value *Value
}

// Match says what an Index knows about measured registers. The zero Match is not found.
type Match struct {
	// Found says that every register of an active or retiring value is equal in the evidence.
	Found bool
	// Loaded counts the active and retiring values of the format; 0 means that there was nothing to
	// compare with.
	Loaded int
	// Label of the set and name of the value within it: the match, or the closest known where none
	// was found; empty where nothing is close.
	Label, Value string
	// State of that value.
	State State
	// Differs of Registers registers are not equal in the closest known value.
	Differs, Registers int
}

// NewIndex returns an index over sets, which must not be changed afterwards.
//
// Errors: a [*attestd.CallerError] of class CONFIG where two sets of a format have one name and
// version, a set is not one that Parse would return, or the values of a format name more than 64
// different choices of registers.
func NewIndex(sets ...*Set) (*Index, error) {
	index := &Index{sets: sets, formats: make(map[attestd.Format]*formatIndex)}
	labels := make(map[string]bool, len(sets))
	for _, set := range sets {
		label := string(set.Format) + " " + set.Label()
		if labels[label] {
			return nil, refuseSet("give each its own name or version", "%q stands twice", label)
		}
		labels[label] = true
		if err := index.add(set); err != nil {
			return nil, err
		}
	}
	return index, nil
}

func refuseSet(hint, format string, args ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig, Hint: hint, Err: fmt.Errorf("reference values: "+format, args...),
	}
}

func (x *Index) add(set *Set) error {
	form, ok := shapes[set.Format]
	if !ok || len(set.Values) == 0 {
		return refuseSet(docHint, "%q has no values of a known format", set.Label())
	}
	of := x.formats[set.Format]
	if of == nil {
		of = &formatIndex{near: make(map[string][]place)}
		x.formats[set.Format] = of
	}
	for i := range set.Values {
		value := &set.Values[i]
		// Parse saw to all this; a set that was made by hand must not match more than one that was
		// read, and a value without registers would match everything.
		if len(value.Registers) == 0 || form.missing(value.Registers) != "" {
			return refuseSet(docHint, "%q of %q lacks registers", value.Name, set.Label())
		}
		for _, register := range value.Registers {
			if problem := form.problem(register.Name, register.Digest); problem != "" {
				return refuseSet(docHint, "%q of %q: %s %s",
					value.Name, set.Label(), register.Name, problem)
			}
		}
		of.add(place{set: set, value: value})
		if len(of.layouts) > maxLayouts {
			return refuseSet("name the same registers in every value",
				"%q of %q: %d values of a format each name other registers, want at most %d",
				value.Name, set.Label(), len(of.layouts), maxLayouts)
		}
	}
	return nil
}

func (f *formatIndex) add(at place) {
	registers := sorted(at.value.Registers)
	for _, register := range registers {
		key := nearKey(register)
		if len(f.near[key]) < maxClose {
			f.near[key] = append(f.near[key], at)
		}
	}
	if !at.value.State.Matches() {
		return
	}
	f.loaded++
	names := make([]string, len(registers))
	for i, register := range registers {
		names[i] = register.Name
	}
	into := f.layoutOf(names)
	key := sha256.Sum256(keyOf(registers))
	// The same registers can be known under several names: an active one wins over a retiring one,
	// then the first.
	if old, taken := into.values[key]; !taken || old.value.State > at.value.State {
		into.values[key] = at
	}
}

func (f *formatIndex) layoutOf(names []string) *layout {
	for _, known := range f.layouts {
		if slices.Equal(known.names, names) {
			return known
		}
	}
	added := &layout{names: names, values: make(map[[sha256.Size]byte]place)}
	f.layouts = append(f.layouts, added)
	return added
}

// Match looks registers up. The registers must be those of verified claims.
func (x *Index) Match(format attestd.Format, registers iter.Seq[attestd.Register]) Match {
	if x == nil || registers == nil || x.formats[format] == nil {
		return Match{}
	}
	of := x.formats[format]
	seen := make([]attestd.Register, 0, 32)
	for register := range registers {
		seen = append(seen, register)
	}
	wanted := make([]attestd.Register, 0, len(seen))
	for _, known := range of.layouts {
		wanted = pick(wanted[:0], seen, known.names)
		if len(wanted) != len(known.names) {
			continue
		}
		if at, ok := known.values[sha256.Sum256(keyOf(wanted))]; ok {
			return Match{
				Found: true, Loaded: of.loaded, Label: at.set.Label(), Value: at.value.Name,
				State: at.value.State, Registers: len(known.names),
			}
		}
	}
	closest := of.closest(seen)
	closest.Loaded = of.loaded
	return closest
}

// pick appends the registers called names, in their order, and stops at the first that is not there.
func pick(into, from []attestd.Register, names []string) []attestd.Register {
	for _, name := range names {
		at := slices.IndexFunc(from, func(r attestd.Register) bool { return r.Name == name })
		if at < 0 {
			return into
		}
		into = append(into, from[at])
	}
	return into
}

// closest names the value with the most registers equal to those seen.
func (f *formatIndex) closest(seen []attestd.Register) Match {
	var best Match
	most := 0
	for _, register := range seen {
		for _, at := range f.near[nearKey(register)] {
			equal := 0
			for _, want := range at.value.Registers {
				if got := pick(nil, seen, []string{want.Name}); len(got) == 1 && same(got[0], want) {
					equal++
				}
			}
			if equal > most {
				most = equal
				best = Match{
					Label: at.set.Label(), Value: at.value.Name, State: at.value.State,
					Differs:   len(at.value.Registers) - equal,
					Registers: len(at.value.Registers),
				}
			}
		}
	}
	return best
}

// Sets returns what the index was made from.
func (x *Index) Sets() []*Set {
	if x == nil {
		return nil
	}
	return slices.Clone(x.sets)
}

func same(a, b attestd.Register) bool {
	return a.Name == b.Name && a.Algorithm == b.Algorithm && bytes.Equal(a.Digest, b.Digest)
}

func sorted(registers []attestd.Register) []attestd.Register {
	return slices.SortedFunc(slices.Values(registers), func(a, b attestd.Register) int {
		return cmp.Compare(a.Name, b.Name)
	})
}

func nearKey(register attestd.Register) string {
	return string(keyOf([]attestd.Register{register}))
}

// keyOf writes registers so that no two lists of them read the same: each part is behind its length.
func keyOf(registers []attestd.Register) []byte {
	out := make([]byte, 0, 64*len(registers))
	for _, register := range registers {
		for _, part := range []string{register.Name, register.Algorithm} {
			out = append(append(out, byte(len(part))), part...)
		}
		out = append(append(out, byte(len(register.Digest))), register.Digest...)
	}
	return out
}
