package attestd

import "hash/maphash"

// factIndex finds facts by name: a table of places, each the number of a fact plus one, 0 where none
// is. It lies inside Claims and costs no allocation: filling a map was a good part of the time that
// the whole verification of a TPM quote may take beside its signature.
type factIndex [256]uint8

// maxFacts leaves room for the search to end at an empty place.
const maxFacts = 200

var factSeed = maphash.MakeSeed()

// fill enters every fact, and reports whether each has a value and a name of its own.
func (x *factIndex) fill(facts []Fact) bool {
	if len(facts) > maxFacts {
		return false
	}
	for i := range facts {
		at, free := x.find(facts, facts[i].Name)
		if at >= 0 || facts[i].Value.kind == KindNone {
			return false
		}
		x[free] = uint8(i + 1) //nolint:gosec // at most maxFacts
	}
	return true
}

// find returns the number of the fact called name, or -1 and the place where it would stand.
func (x *factIndex) find(facts []Fact, name string) (at int, free uint8) {
	place := uint8(maphash.String(factSeed, name)) //nolint:gosec // the low byte is meant
	for x[place] != 0 {
		if number := int(x[place] - 1); facts[number].Name == name {
			return number, place
		}
		place++
	}
	return -1, place
}
