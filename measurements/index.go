package measurements

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/attestd/attestd"
)

// maxClose bounds how many values with one and the same register are looked at to name the closest.
const maxClose = 8

// maxRuled bounds how many values with rules one format has: each is held against every event of each
// piece of evidence.
const maxRuled = 64

// maxLayouts bounds how many different choices of registers the values of one format name: each is
// looked up for each piece of evidence (16,000 of them took 90 ms).
const maxLayouts = 64

// Index finds the reference value that evidence matches, in a time that does not grow with their
// number. A nil Index holds nothing and matches nothing. It is immutable and safe for concurrent
// use.
type Index struct {
	sets    []*Set
	formats map[attestd.Format]*formatIndex
	ends    []time.Time // of values that match up to a time, sorted
}

// formatIndex holds the values of one format. Values that name the same registers share a layout;
// there are few layouts, and within one a value is found by the digest of all its registers.
type formatIndex struct {
	layouts []*layout
	// near finds values by one register, to say what evidence comes close to.
	near map[string][]place
	// ruled are the values with rules, in their order.
	ruled []*ruled
	// golden are some values with events, to name a difference where nothing is near.
	golden []place
	loaded int
}

// register of an algorithm: evidence can quote one register in several banks.
type register struct{ name, algorithm string }

type place struct {
	set   *Set
	value *Value
}

// Match says what an Index knows about measured registers. The zero Match is not found.
type Match struct {
	// Found says that every register of a value that matches is equal in the evidence.
	Found bool
	// Loaded counts the active, canary and retiring values of the format; 0 means that there was
	// nothing to compare with.
	Loaded int
	// Label of the set and name of the value within it: the match, or the closest known where none
	// was found; empty where nothing is close.
	Label, Value string
	// State of that value.
	State State
	// Until is when that value ceases to match; zero for no end.
	Until time.Time
	// Why says, where nothing was found and the closest value is equal, why it does not match:
	// "proposed", "canary, not for this machine", "retiring ended 2026-12-31T18:00:00Z", "retired".
	Why string
	// Differs of Registers registers are not equal in the closest known value, or fail its rules.
	Differs, Registers int
	// Event names, in at most MaxLine characters, the first event that differs from the closest known
	// value; empty where that value has neither rules nor events.
	Event string
}

// NewIndex returns an index over sets, which must not be changed afterwards.
//
// Errors: a [*attestd.CallerError] of class CONFIG where two sets of a format have one name and
// version, a set is not one that Parse would return, or the values of a format name more than 64
// different choices of registers, or more than 64 of them have rules.
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
	slices.SortFunc(index.ends, time.Time.Compare)
	return index, nil
}

// NextEnd returns when, after the time, a value ceases to match for the first time, and whether one
// will: what was accepted because of it should be appraised again then.
func (x *Index) NextEnd(after time.Time) (end time.Time, ok bool) {
	if x == nil {
		return time.Time{}, false
	}
	for _, end := range x.ends {
		if end.After(after) {
			return end, true
		}
	}
	return time.Time{}, false
}

func refuseSet(hint, format string, args ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig, Hint: hint, Err: fmt.Errorf("reference values: "+format, args...),
	}
}

func (x *Index) add(set *Set) error {
	form, ok := shapes[set.Format]
	if !ok || len(set.Values) == 0 && !(form.banked && set.hasKeys()) {
		return refuseSet(docHint, "%q has no values of a known format", set.Label())
	}
	if len(set.Values) == 0 {
		return nil
	}
	if form, ok = form.in(set.Bank); !ok {
		return refuseSet(docHint, "%q is of no known bank: %q", set.Label(), set.Bank)
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
		if problem := value.problem(form); problem != "" {
			return refuseSet(docHint, "%q of %q %s", value.Name, set.Label(), problem)
		}
		few := of.add(place{set: set, value: value}, form)
		if !value.Until.IsZero() {
			x.ends = append(x.ends, value.Until)
		}
		switch {
		case !few:
			return refuseSet("retire the ones that are done",
				"%q of %q: more than %d canary or retiring values have equal registers",
				value.Name, set.Label(), maxClose)
		case len(of.layouts) > maxLayouts:
			return refuseSet("name the same registers in every value",
				"%q of %q: %d values of a format each name other registers, want at most %d",
				value.Name, set.Label(), len(of.layouts), maxLayouts)
		case len(of.ruled) > maxRuled:
			return refuseSet("put what may differ into the lists of one value's rules",
				"%q of %q: %d values of a format have rules, want at most %d",
				value.Name, set.Label(), len(of.ruled), maxRuled)
		}
	}
	return nil
}

// problem says why a value may not be loaded, or nothing.
func (v *Value) problem(form shape) string {
	if problem := v.badLifecycle(); problem != "" {
		return problem
	}
	if missing := form.missing(*v); missing != "" || len(v.names()) == 0 {
		return "lacks registers"
	}
	for _, register := range v.Registers {
		if problem := form.problem(register.Name, register.Digest); problem != "" {
			return register.Name + " " + problem
		}
		if register.Algorithm != form.algorithm {
			return register.Name + " is of another algorithm"
		}
	}
	if len(v.Rules)+len(v.Events) > 0 && !form.banked {
		return "has rules or events, which its format has not"
	}
	for _, rules := range v.Rules {
		if problem := rules.problem(form); problem != "" {
			return problem
		}
	}
	if v.demandsNothing() {
		return "demands nothing"
	}
	return ""
}

// demandsNothing reports whether a value would match whatever was measured: every machine's log has
// events of some role.
func (v *Value) demandsNothing() bool {
	demands := func(r Rule) bool { return r.Demand != DemandAny }
	return len(v.Registers) == 0 && !slices.ContainsFunc(v.Rules, func(r RegisterRules) bool {
		return slices.ContainsFunc(r.Roles, demands)
	})
}

// add reports whether there was room for the value.
func (f *formatIndex) add(at place, form shape) bool {
	if len(at.value.Events) > 0 && len(f.golden) < maxClose {
		f.golden = append(f.golden, at)
	}
	if at.value.State.Matches() {
		f.loaded++
	}
	if len(at.value.Rules) > 0 {
		if at.value.State != StateRetired { // each takes its time with every event
			f.ruled = append(f.ruled, prepare(at, form))
		}
		return true
	}
	registers := sorted(at.value.Registers)
	for _, register := range registers {
		key := nearKey(register)
		if len(f.near[key]) < maxClose {
			f.near[key] = append(f.near[key], at)
		}
	}
	if !at.value.State.Matches() {
		return true
	}
	return f.layoutOf(registers).add(sha256.Sum256(keyOf(registers)), at)
}

// MatchClaims looks up what claims say was measured, of whom they say it, at the time as of which
// the evidence is judged. Claims that no verification stands behind match nothing.
func (x *Index) MatchClaims(c *attestd.Claims, at time.Time) Match {
	if !c.Proven() {
		return Match{}
	}
	return x.match(c.Format(), c.Registers(), c.Events(), asker{c.Handles(), at})
}

// Match looks up what was measured, of nobody and at no time: canaries and values with an end match
// nothing. Registers and events must be those of verified claims; events may be nil, which meets no
// rule. They are only asked for where a value has rules, or where nothing matches and a value has
// events to name what differs.
func (x *Index) Match(
	format attestd.Format, registers iter.Seq[attestd.Register], events iter.Seq[attestd.Event],
) Match {
	return x.match(format, registers, events, asker{})
}

func (x *Index) match(
	format attestd.Format, registers iter.Seq[attestd.Register], events iter.Seq[attestd.Event],
	who asker,
) Match {
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
		wanted = pick(wanted[:0], seen, known.registers)
		if len(wanted) != len(known.registers) {
			continue
		}
		if at, ok := known.find(wanted, who); ok {
			match := at.match(0, len(known.registers))
			match.Found, match.Loaded = true, of.loaded
			return match
		}
	}
	var heard []*hearing
	if len(of.ruled) > 0 {
		heard = hear(of.ruled, seen, events)
		if met := firstMet(heard, who); met != nil {
			match := met.match()
			match.Found, match.Loaded = true, of.loaded
			return match
		}
	}
	closest := of.closest(seen, heard, events, who)
	closest.Loaded = of.loaded
	return closest
}

// firstMet returns the first value that is met and matches for who asks: active ones before canaries,
// those before retiring ones.
func firstMet(heard []*hearing, who asker) *hearing {
	for _, state := range []State{StateActive, StateCanary, StateRetiring} {
		for _, one := range heard {
			if one.of.value.State == state && one.differs == 0 && one.of.refuses(who) == "" {
				return one
			}
		}
	}
	return nil
}

func (h *hearing) match() Match {
	match := h.of.match(h.differs, len(h.of.value.names()))
	match.Event = h.first
	return match
}

// match names a value that differs in some of its registers.
func (p place) match(differs, registers int) Match {
	return Match{
		Label: p.set.Label(), Value: p.value.Name, State: p.value.State, Until: p.value.Until,
		Differs: differs, Registers: registers,
	}
}

// pick appends the named registers, in their order, and stops at the first that is not there.
func pick(into, from []attestd.Register, names []register) []attestd.Register {
	for _, name := range names {
		at := slices.IndexFunc(from, func(r attestd.Register) bool {
			return r.Name == name.name && r.Algorithm == name.algorithm
		})
		if at < 0 {
			return into
		}
		into = append(into, from[at])
	}
	return into
}

// closest names the value that has the most in common with what was seen, and the first event that
// differs from it.
func (f *formatIndex) closest(
	seen []attestd.Register, heard []*hearing, events iter.Seq[attestd.Event], who asker,
) Match {
	var best Match
	var value *Value
	var why string
	most := 0
	consider := func(at place, floor int) {
		equal := 0
		for _, want := range at.value.Registers {
			if holds(seen, want) {
				equal++
			}
		}
		// Of two that come equally close, the one that can say which event differs is of more use.
		better := value == nil || equal > most ||
			equal == most && len(value.Events) == 0 && len(at.value.Events) > 0
		if equal < floor || !better {
			return
		}
		most, value, why = equal, at.value, at.refuses(who)
		best = at.match(len(at.value.Registers)-equal, len(at.value.Registers))
	}
	for _, register := range seen {
		for _, at := range f.near[nearKey(register)] {
			consider(at, 1)
		}
	}
	for _, one := range heard {
		match := one.match()
		if equal := match.Registers - match.Differs; value == nil || equal > most {
			most, value, best, why = equal, one.of.value, match, one.of.refuses(who)
		}
	}
	if value == nil {
		for _, at := range f.golden {
			consider(at, 0)
		}
	}
	if value != nil && best.Differs == 0 {
		best.Why = why
	}
	if value != nil && best.Event == "" && best.Differs > 0 && len(value.Events) > 0 {
		best.Event = whatDiffers(value, seen, events)
	}
	return best
}

// whatDiffers names the first thing in which what was seen differs from a value with a golden boot.
func whatDiffers(value *Value, seen []attestd.Register, events iter.Seq[attestd.Event]) string {
	for _, want := range value.Registers {
		if len(pick(nil, seen, []register{{want.Name, want.Algorithm}})) == 0 {
			return want.Name + " is not quoted in the value's bank, " + want.Algorithm
		}
	}
	return firstDifference(value, events, func(register string) bool {
		return slices.ContainsFunc(value.Registers, func(want attestd.Register) bool {
			return want.Name == register && !holds(seen, want)
		})
	})
}

func holds(seen []attestd.Register, want attestd.Register) bool {
	return slices.ContainsFunc(seen, func(r attestd.Register) bool { return same(r, want) })
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
