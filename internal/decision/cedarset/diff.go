package cedarset

import (
	"cmp"
	"slices"
)

// Kinds of changes of a policy.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// Change is a policy that is not the same in two sets.
type Change struct {
	// Change is [Added], [Removed] or [Changed].
	Change string `json:"change"`
	ID     string `json:"id"`
	// Opens says that it could allow what was denied: a permit that was added, a forbid that was removed, a
	// permit that was removed with its obligations, and whatever was changed. Rehearsals and cases say
	// whether it does.
	Opens bool    `json:"opens"`
	Old   *Listed `json:"old,omitempty"`
	New   *Listed `json:"new,omitempty"`
}

// Diff returns the policies that differ: what could open something first, then by id. A policy is known by
// its file and its @id; what is laid out otherwise, or stands in another line, is the same.
func Diff(before, after *Set) ([]Change, error) {
	old, err := before.List()
	if err != nil {
		return nil, err
	}
	fresh, err := after.List()
	if err != nil {
		return nil, err
	}
	was := make(map[string]*Listed, len(old))
	for i := range old {
		was[old[i].ID] = &old[i]
	}
	out := []Change{}
	for i := range fresh {
		one := &fresh[i]
		switch prior := was[one.ID]; {
		case prior == nil:
			out = append(out, Change{Change: Added, ID: one.ID, Opens: one.Effect == Permit, New: one})
		case prior.Text != one.Text:
			out = append(out, Change{Change: Changed, ID: one.ID, Opens: true, Old: prior, New: one})
		}
		delete(was, one.ID)
	}
	for id, one := range was {
		out = append(out, Change{
			Change: Removed, ID: id, Old: one,
			// An enforcement point that cannot carry an obligation out is denied.
			Opens: one.Effect == Forbid || len(one.Obligations) > 0,
		})
	}
	slices.SortFunc(out, func(a, b Change) int {
		if a.Opens != b.Opens {
			if a.Opens {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.ID, b.ID)
	})
	return out, nil
}
