package workloads

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/attestd/attestd"
)

// Index finds names by tenant. The zero Index and a nil one know none. It does not change, and is safe
// for concurrent use.
type Index struct {
	shared  view
	tenants map[string]view
}

// view is what the nodes of one tenant know.
type view struct {
	names    map[string]string
	revision string
	// where each name and digest was defined, for messages
	source map[string]string
}

// NewIndex returns an index over documents.
//
// Errors: a [*attestd.CallerError] of class CONFIG with every problem: a digest with two names for one
// tenant, a name that two documents define for one tenant, more digests than [MaxDigests], and sets
// that Parse would not return.
func NewIndex(sets ...*Set) (*Index, error) {
	index := &Index{shared: newView(), tenants: make(map[string]view)}
	var problems []string
	for _, set := range sets {
		if set.Tenant == "" {
			problems = append(problems, index.shared.add(set)...)
		}
	}
	for _, set := range sets {
		if set.Tenant == "" {
			continue
		}
		of, known := index.tenants[set.Tenant]
		if !known {
			of = index.shared.clone()
			index.tenants[set.Tenant] = of
		}
		problems = append(problems, of.add(set)...)
	}
	index.shared.seal()
	for tenant, of := range index.tenants {
		if len(of.names) > MaxDigests {
			problems = append(problems, fmt.Sprintf("tenant %q has %d digests, want at most %d",
				tenant, len(of.names), MaxDigests))
		}
		of.seal()
		index.tenants[tenant] = of
	}
	if len(index.shared.names) > MaxDigests {
		problems = append(problems, fmt.Sprintf("all tenants have %d digests, want at most %d",
			len(index.shared.names), MaxDigests))
	}
	if len(problems) > 0 {
		slices.Sort(problems)
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: docHint,
			Err: fmt.Errorf("workloads: %s", strings.Join(problems, "\n  ")),
		}
	}
	return index, nil
}

// Names returns the names that the nodes of a tenant know, from the SHA-256 of the executable in
// lower-case hex, and the revision: two maps are equal where theirs is. The map is the index's own and
// must not be changed.
func (x *Index) Names(tenant string) (names map[string]string, revision string) {
	if x == nil {
		return nil, emptyRevision
	}
	if of, known := x.tenants[tenant]; known {
		return of.names, of.revision
	}
	if x.shared.revision == "" {
		return nil, emptyRevision
	}
	return x.shared.names, x.shared.revision
}

func newView() view {
	return view{names: make(map[string]string), source: make(map[string]string)}
}

func (v view) clone() view {
	return view{names: maps.Clone(v.names), source: maps.Clone(v.source)}
}

func (v view) add(set *Set) []string {
	var problems []string
	wrong := func(name, format string, args ...any) {
		problems = append(problems, fmt.Sprintf("%s: %q: ", set.Source, attestd.Excerpt(name, 64))+
			fmt.Sprintf(format, args...))
	}
	for _, workload := range set.Workloads {
		// Parse saw to all this; a set that was made by hand must not name more than one that was read.
		if !nameForm.MatchString(workload.Name) || len(workload.SHA256) == 0 {
			wrong(workload.Name, "is no name, or has no digests")
			continue
		}
		if first, double := v.source[workload.Name]; double {
			wrong(workload.Name, "is defined in %s already; one document says what a name is", first)
			continue
		}
		v.source[workload.Name] = set.Source
		for _, digest := range workload.SHA256 {
			name, double := v.names[digest]
			switch {
			case !digestForm.MatchString(digest) || meansNothing(digest) != "":
				wrong(workload.Name, "has %q, which is no digest", attestd.Excerpt(digest, 70))
			case double:
				wrong(workload.Name, "%s has the name %q already (%s); a digest has one name",
					digest, name, v.source[name])
			default:
				v.names[digest] = workload.Name
			}
		}
	}
	return problems
}

// emptyRevision is that of no names at all.
var emptyRevision = revisionOf(nil)

func (v *view) seal() {
	v.revision, v.source = revisionOf(v.names), nil
}

// revisionOf is a digest over the content, so that replicas and restarts agree about it.
func revisionOf(names map[string]string) string {
	sum := sha256.New()
	for _, digest := range slices.Sorted(maps.Keys(names)) {
		// Both parts are in alphabets without a space or a line's end: no two maps write the same.
		fmt.Fprintf(sum, "%s %s\n", digest, names[digest])
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}
