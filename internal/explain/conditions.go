package explain

import "github.com/attestd/attestd/internal/condition"

// KindCondition is for what can be wrong with a running attestd. Its entries come last in the list.
const KindCondition Kind = "condition"

func conditionEntries() []Entry {
	specs := condition.All()
	out := make([]Entry, 0, len(specs))
	for _, spec := range specs {
		out = append(out, Entry{
			ID: spec.Name, Kind: KindCondition, Title: spec.Title, Why: spec.Why + " Effect: " + spec.Effect + ".",
			Hint: spec.Fix, Spec: "attestd: docs/reference/conditions.md",
		})
	}
	return out
}
