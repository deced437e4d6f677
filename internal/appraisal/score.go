package appraisal

import (
	"cmp"
	"slices"

	"github.com/attestd/attestd"
)

// RootsFloor is the least risk of what ends in a root that was loaded by hand. No policy waives it.
const RootsFloor = 60

// Score adds reasons up. Within a group only the most points count: one cause with many symptoms is
// one cause. The groups are added and clamped to 100. Insecure roots are a floor and no summand, so
// that a laboratory sees the scores of production, and never a low one.
//
// A reason that rejects makes 100, and critical. One that leaves undecided makes 100, and unknown,
// unless the rest is enough to reject: what is missing could only add to it.
//
// Adding a reason never lowers the score and never betters the verdict.
func Score(reasons []attestd.Reason) (attestd.RiskScore, attestd.Tier) {
	undecided := false
	groups := make([]attestd.Group, 0, 8)
	most := make([]int, 0, 8)
	for _, reason := range reasons {
		switch reason.Effect {
		case attestd.EffectScored:
			at := slices.Index(groups, reason.Group)
			if at < 0 {
				groups, most = append(groups, reason.Group), append(most, 0)
				at = len(groups) - 1
			}
			most[at] = max(most[at], reason.Points)
		case attestd.EffectUndecided:
			undecided = true
		default:
			return attestd.Risk(100), attestd.TierCritical
		}
	}
	sum, floor := 0, 0
	for at, group := range groups {
		if group == attestd.GroupRoots {
			floor = most[at]
			continue
		}
		sum += most[at]
	}
	risk := attestd.Risk(max(sum, floor))
	if undecided && risk.Tier().Verdict() != attestd.VerdictRejected {
		return attestd.Risk(100), attestd.TierUnknown
	}
	if undecided {
		return attestd.Risk(100), attestd.TierCritical
	}
	return risk, risk.Tier()
}

// worstFirst orders reasons: what rejects, what leaves undecided, what is scored; then by points.
func worstFirst(reasons []attestd.Reason) {
	slices.SortStableFunc(reasons, func(a, b attestd.Reason) int {
		return cmp.Or(cmp.Compare(a.Effect, b.Effect), cmp.Compare(b.Points, a.Points))
	})
}
