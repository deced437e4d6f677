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
	// composed says that the format's claims have devices, each of which its own format's rules are for.
	composed bool
}

// tables are made once: they are the same for every set of roots.
var tables = sync.OnceValues(func() (map[attestd.Format]*table, error) {
	list, err := all.New(all.Config{})
	if err != nil {
		return nil, err
	}
	return tablesOf(list), nil
})

func tablesOf(list []verifiers.Verifier) map[attestd.Format]*table {
	made := make(map[attestd.Format]*table, len(list))
	for _, verifier := range list {
		made[verifier.Format()] = tableOf(verifier)
	}
	return made
}

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
	_, made.composed = verifier.(verifiers.Composer)
	for _, spec := range sharedChecks() {
		if made.composed && spec.Rule == attestd.RuleReference {
			continue // what runs is measured by the devices, and compared there
		}
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
