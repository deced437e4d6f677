package measurements

import (
	"slices"

	"github.com/attestd/attestd"
)

// AlgorithmOf returns the algorithm of a format's registers, as in "SHA384"; of formats with banks,
// that of the bank. It is empty for what there is no reference value for.
func AlgorithmOf(format attestd.Format, bank string) string {
	form, ok := shapes[format]
	if !ok {
		return ""
	}
	if form, ok = form.in(bank); !ok {
		return ""
	}
	return form.algorithm
}

// ProblemOf says why a value will not do in a set of the format and bank, or nothing: what [NewIndex]
// would refuse, to tell it of one value among many.
func ProblemOf(format attestd.Format, bank string, value Value) string {
	form, ok := shapes[format]
	if !ok {
		return "there are no reference values for this format"
	}
	if form, ok = form.in(bank); !ok {
		return "there is no such bank"
	}
	for _, name := range value.names() {
		if !slices.Contains(form.names, name) {
			return "no register is called " + attestd.Excerpt(name, 20)
		}
	}
	if missing := form.missing(value); missing != "" {
		return "it does not name " + missing + "; without it, other images would match too"
	}
	return value.problem(form)
}
