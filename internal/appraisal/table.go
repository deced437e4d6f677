package appraisal

import (
	"slices"
	"strings"
	"sync"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/all"
)

// table lists what a policy must say about one format.
type table struct {
	specs []attestd.CheckSpec // StageAppraise checks, in the order in which they are made
	kinds map[string]attestd.Kind
}

// tables are made once: they are the same for every set of roots.
var tables = sync.OnceValues(func() (map[attestd.Format]*table, error) {
	list, err := all.New(all.Config{})
	if err != nil {
		return nil, err
	}
	made := make(map[attestd.Format]*table, len(list))
	for _, verifier := range list {
		made[verifier.Format()] = tableOf(verifier)
	}
	return made, nil
})

func tableOf(verifier verifiers.Verifier) *table {
	made := &table{kinds: map[string]attestd.Kind{factOwnership: attestd.KindText}}
	for _, fact := range verifier.Facts() {
		made.kinds[fact.Name] = fact.Kind
	}
	for _, spec := range verifier.Checks() {
		if spec.Stage == attestd.StageAppraise {
			made.specs = append(made.specs, spec)
		}
	}
	for _, spec := range sharedChecks() {
		if !slices.ContainsFunc(made.specs, func(s attestd.CheckSpec) bool { return s.ID == spec.ID }) {
			made.specs = append(made.specs, spec)
		}
	}
	return made
}

// keyOf is the check's name in a policy: the format in front is left out, an area is not.
func keyOf(format attestd.Format, id attestd.CheckID) string {
	return strings.TrimPrefix(string(id), string(format)+"/")
}
