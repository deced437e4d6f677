package measurements

import (
	"crypto/sha256"
	"slices"

	"github.com/attestd/attestd"
)

// layout holds the values of a format that name the same registers.
type layout struct {
	registers []register // sorted
	values    map[[sha256.Size]byte]place
	// more has what comes into question, in its order, where the value does not match for who asks:
	// one that does for some machines, or up to a time, can have the registers of another.
	more map[[sha256.Size]byte][]place
}

func (f *formatIndex) layoutOf(registers []attestd.Register) *layout {
	names := make([]register, len(registers))
	for i, one := range registers {
		names[i] = register{one.Name, one.Algorithm}
	}
	for _, known := range f.layouts {
		if slices.Equal(known.registers, names) {
			return known
		}
	}
	added := &layout{
		registers: names, values: make(map[[sha256.Size]byte]place),
		more: make(map[[sha256.Size]byte][]place),
	}
	f.layouts = append(f.layouts, added)
	return added
}

// add puts a value among those with the same registers, which can be known under several names: an
// active one is named before a canary, that before a retiring one, then the first. What stands behind
// one that matches for everybody is never asked for.
func (l *layout) add(key [sha256.Size]byte, at place) bool {
	first, taken := l.values[key]
	if !taken {
		l.values[key] = at
		return true
	}
	all := append([]place{first}, l.more[key]...)
	behind := slices.IndexFunc(all, func(p place) bool { return p.value.State > at.value.State })
	if behind < 0 {
		behind = len(all)
	}
	all = slices.Insert(all, behind, at)
	if certain := slices.IndexFunc(all, func(p place) bool { return !p.value.conditional() }); certain >= 0 {
		all = all[:certain+1]
	}
	l.values[key] = all[0]
	delete(l.more, key)
	if len(all) > 1 {
		l.more[key] = all[1:]
	}
	return len(all) <= maxClose
}

// find returns the value with the registers that matches for who asks.
func (l *layout) find(registers []attestd.Register, who asker) (place, bool) {
	key := sha256.Sum256(keyOf(registers))
	at, ok := l.values[key]
	if !ok || at.refuses(who) == "" {
		return at, ok
	}
	for _, at := range l.more[key] {
		if at.refuses(who) == "" {
			return at, true
		}
	}
	return place{}, false
}
