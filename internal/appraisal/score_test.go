package appraisal_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
)

var allGroups = []attestd.Group{
	attestd.GroupAuthenticity, attestd.GroupRoots, attestd.GroupDebug, attestd.GroupTCB,
	attestd.GroupPlatform, attestd.GroupIdentity, attestd.GroupMeasurement, attestd.GroupCollateral,
	attestd.GroupChallenge,
}

func anyReason() *rapid.Generator[attestd.Reason] {
	return rapid.Custom(func(t *rapid.T) attestd.Reason {
		return attestd.Reason{
			Group:  rapid.SampledFrom(allGroups).Draw(t, "group"),
			Points: rapid.IntRange(0, 100).Draw(t, "points"),
			// Scored often, so that sums are looked at and not only the first rejection.
			Effect: rapid.SampledFrom([]attestd.Effect{
				attestd.EffectScored, attestd.EffectScored, attestd.EffectScored, attestd.EffectScored,
				attestd.EffectUndecided, attestd.EffectRejects,
			}).Draw(t, "effect"),
		}
	})
}

// worse orders verdicts.
var worse = map[attestd.Verdict]int{
	attestd.VerdictAccepted: 0, attestd.VerdictUndecided: 1, attestd.VerdictRejected: 2,
}

func TestABadFactNeverHelps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		reasons := rapid.SliceOfN(anyReason(), 0, 12).Draw(t, "reasons")
		risk, tier := appraisal.Score(reasons)
		at := rapid.IntRange(0, len(reasons)).Draw(t, "at")
		more := append(append([]attestd.Reason{}, reasons[:at]...), anyReason().Draw(t, "one more"))
		moreRisk, moreTier := appraisal.Score(append(more, reasons[at:]...))
		if moreRisk.Int() < risk.Int() {
			t.Fatalf("one more reason lowered the risk from %v to %v", risk, moreRisk)
		}
		if worse[moreTier.Verdict()] < worse[tier.Verdict()] {
			t.Fatalf("one more reason turned %v into %v", tier.Verdict(), moreTier.Verdict())
		}
	})
}

func TestTheOrderOfReasonsDoesNotCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		reasons := rapid.SliceOfN(anyReason(), 0, 12).Draw(t, "reasons")
		risk, tier := appraisal.Score(reasons)
		again, againTier := appraisal.Score(rapid.Permutation(reasons).Draw(t, "order"))
		if risk != again || tier != againTier {
			t.Fatalf("got %v %v and %v %v", risk, tier, again, againTier)
		}
	})
}

func TestScore(t *testing.T) {
	point := func(group attestd.Group, points int) attestd.Reason {
		return attestd.Reason{Group: group, Points: points, Effect: attestd.EffectScored}
	}
	missing := attestd.Reason{Effect: attestd.EffectUndecided, Group: attestd.GroupCollateral}
	for _, row := range []struct {
		name    string
		reasons []attestd.Reason
		risk    int
		tier    attestd.Tier
	}{
		{"nothing against it", nil, 0, attestd.TierLow},
		{"one cause with two symptoms counts once",
			[]attestd.Reason{point("tcb", 30), point("tcb", 20)}, 30, attestd.TierLow},
		{"two causes are added", []attestd.Reason{point("tcb", 30), point("platform", 20)}, 50,
			attestd.TierMedium},
		{"the sum is bounded", []attestd.Reason{point("tcb", 90), point("platform", 80)}, 100,
			attestd.TierCritical},
		{"insecure roots are a floor", []attestd.Reason{point("roots", 60)}, 60, attestd.TierMedium},
		{"insecure roots are no summand", []attestd.Reason{point("roots", 60), point("tcb", 40)}, 60,
			attestd.TierMedium},
		{"a sum above the floor stays", []attestd.Reason{point("roots", 60), point("tcb", 75)}, 75,
			attestd.TierHigh},
		{"what is missing leaves unknown", []attestd.Reason{missing, point("tcb", 20)}, 100,
			attestd.TierUnknown},
		{"a rejection outranks what is missing",
			[]attestd.Reason{missing, {Effect: attestd.EffectRejects}}, 100, attestd.TierCritical},
		{"points that reject outrank what is missing", []attestd.Reason{missing, point("tcb", 70)}, 100,
			attestd.TierCritical},
		{"a zero reason rejects", []attestd.Reason{{}}, 100, attestd.TierCritical},
		{"an effect that does not exist rejects", []attestd.Reason{{Effect: 9}}, 100,
			attestd.TierCritical},
	} {
		t.Run(row.name, func(t *testing.T) {
			risk, tier := appraisal.Score(row.reasons)
			if risk.Int() != row.risk || tier != row.tier {
				t.Errorf("got %v %v, want %d %v", risk, tier, row.risk, row.tier)
			}
		})
	}
}
