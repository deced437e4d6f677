package subject

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/attestd/attestd"
)

// Bounds of what speaks against a subject.
const (
	// SourceCap is the most that all signals together add that attestd did not see itself: nobody who
	// reports something makes a subject's risk high alone.
	SourceCap = 40
	// maxSignals is how many signals a subject has at once; the weakest goes first.
	maxSignals = 16
	maxDetail  = 200
)

// checkEvidence is the reason that the latest evidence gives.
const checkEvidence = attestd.CheckID("subject/evidence")

// SourceSelf is the source of what attestd saw itself.
const SourceSelf = "attestd"

// Counts reports whether the signal counts at that time.
func (s Signal) Counts(at time.Time) bool { return s.Until.IsZero() || at.Before(s.Until) }

// Weigh adds the signals that count to the risk of the evidence. Within a group only the most points
// count, what others than attestd add is bounded, and the sum is: adding a signal never lowers the
// risk. The reasons are those that were counted, worst first; their points sum to the risk, or to more
// than 100 where the risk is 100.
func Weigh(floor attestd.RiskScore, signals []Signal, at time.Time) (attestd.RiskScore, []attestd.Reason) {
	sum := floor.Int()
	var reasons []attestd.Reason
	if sum > 0 {
		reasons = append(reasons, attestd.Reason{
			Check: checkEvidence, Group: GroupEvidence, Points: sum, Effect: attestd.EffectScored,
			Detail: "the latest authentic evidence, as the policy scored it",
			Remedy: "see the reasons of its verdict",
		})
	}
	for _, signal := range counted(signals, at) {
		sum += signal.Points
		reasons = append(reasons, attestd.Reason{
			Check: attestd.CheckID("subject/" + string(signal.Code)), Group: signal.Group,
			Points: signal.Points, Effect: attestd.EffectScored, Detail: signal.Detail,
			Remedy: remedyOf(signal),
		})
	}
	slices.SortStableFunc(reasons, func(a, b attestd.Reason) int { return cmp.Compare(b.Points, a.Points) })
	return attestd.Risk(sum), reasons
}

// counted returns the signals that count, each with the points that it adds: the strongest in each
// group. What foreign ones add beyond attestd's own is bounded over all groups together, so that no
// signal takes from another what it would have added.
func counted(signals []Signal, at time.Time) []Signal {
	var own, foreign []Signal
	for _, signal := range signals {
		signal.Points = signal.PointsAt(at)
		switch {
		case !signal.Counts(at) || signal.Points == 0:
		case signal.Source == SourceSelf:
			own = append(own, signal)
		default:
			foreign = append(foreign, signal)
		}
	}
	out, left := perGroup(own), SourceCap
	for _, signal := range perGroup(foreign) {
		same := slices.IndexFunc(out, func(s Signal) bool { return s.Group == signal.Group })
		before := 0
		if same >= 0 {
			before = out[same].Points
		}
		more := min(signal.Points-before, left)
		if more <= 0 {
			continue
		}
		left -= more
		signal.Points = before + more
		if same >= 0 {
			out[same] = signal
		} else {
			out = append(out, signal)
		}
	}
	return out
}

// perGroup returns the strongest signal of each group, strongest first.
func perGroup(signals []Signal) []Signal {
	slices.SortStableFunc(signals, func(a, b Signal) int {
		return cmp.Or(cmp.Compare(b.Points, a.Points), cmp.Compare(a.Group, b.Group),
			cmp.Compare(a.Code, b.Code))
	})
	var out []Signal
	for _, signal := range signals {
		if !slices.ContainsFunc(out, func(s Signal) bool { return s.Group == signal.Group }) {
			out = append(out, signal)
		}
	}
	return out
}

// Groups of what is not evidence. What has one cause shares a group.
const (
	GroupEvidence attestd.Group = "evidence"
	GroupLate     attestd.Group = "late"
	GroupCopy     attestd.Group = "copy"
	GroupKeys     attestd.Group = "keys"
	GroupReport   attestd.Group = "report"
)

// Points of attestd's own signals. What is proven takes the risk to 100.
const (
	pointsLate      = 30
	pointsOverdue   = 40
	pointsTwoKeys   = 40
	pointsClockBack = 40
	pointsChurn     = 70
	pointsProven    = 100
)

// lastingHours is how long attestd's own signals count that are no proof; a proof counts until a
// person ends it.
const lastingHours = 24 * time.Hour

// churnLasts is how long too many keys in a minute count. SPIRE's agent makes a new key each time it
// starts and each time its server failed after the evidence was accepted (1.15.3): a fleet that comes
// back after an outage changes keys as fast as somebody who has no machine. It must heal by itself.
const churnLasts = 5 * time.Minute

func remedyOf(signal Signal) string {
	switch {
	case endedByEvidence(signal):
		return "fresh evidence that the policy accepts"
	case !signal.Until.IsZero():
		return fmt.Sprintf("it ends at %s", signal.Until.UTC().Format(time.RFC3339))
	default:
		return "attestd quarantine and, after a rebirth, attestd release"
	}
}

// endedByEvidence are the signals that fresh and accepted evidence ends.
func endedByEvidence(signal Signal) bool {
	switch signal.Code {
	case CodeOverdue, CodeOwnership:
		return signal.Source == SourceSelf
	default:
		return false
	}
}

// raise returns the signals with one more: it takes the place of an older one of the same code and
// source that is no stronger, and never makes anything weaker.
func raise(signals []Signal, one Signal) []Signal {
	out := make([]Signal, 0, len(signals)+1)
	for _, old := range signals {
		if old.Code != one.Code || old.Source != one.Source || old.Group != one.Group {
			out = append(out, old)
			continue
		}
		if points := old.PointsAt(one.At); points > one.Points {
			one.Points, one.Detail = points, old.Detail
		}
		if old.Fade == 0 || one.Fade != 0 && old.Fade > one.Fade {
			one.Fade = old.Fade
		}
		if old.Until.IsZero() || !one.Until.IsZero() && old.Until.After(one.Until) {
			one.Until = old.Until
		}
	}
	one.Detail = attestd.Excerpt(one.Detail, maxDetail)
	out = append(out, one)
	if len(out) > maxSignals {
		weakest := 0
		for i, signal := range out {
			if signal.Points < out[weakest].Points {
				weakest = i
			}
		}
		out = slices.Delete(out, weakest, weakest+1)
	}
	return out
}

// without returns the signals for which drop does not hold.
func without(signals []Signal, drop func(Signal) bool) []Signal {
	return slices.DeleteFunc(slices.Clone(signals), drop)
}

// RiskAt returns the subject's risk at a time, and the reasons that sum to it. What is barred has 100,
// and so has what never gave evidence.
func (s Subject) RiskAt(at time.Time) (attestd.RiskScore, []attestd.Reason) {
	risk, reasons := Weigh(s.Floor, s.Signals, at)
	for i := range reasons {
		if reasons[i].Check == checkEvidence && s.AppraisalID == "" {
			reasons[i].Detail, reasons[i].Remedy = "it never gave authentic evidence", "attest the machine"
		}
	}
	if Barred(s.State) {
		barred := attestd.Reason{
			Check: "subject/" + attestd.CheckID(s.State.String()), Group: GroupReport, Points: 100,
			Effect: attestd.EffectRejects, Detail: "the subject is " + s.State.String(),
			Remedy: "attestd why " + string(s.ID),
		}
		return attestd.Risk(100), append([]attestd.Reason{barred}, reasons...)
	}
	return risk, reasons
}

// TierAt returns the tier of the subject's risk: unknown where it never gave accepted evidence.
func (s Subject) TierAt(at time.Time) attestd.Tier {
	if s.State == attestd.StateUnknown {
		return attestd.TierUnknown
	}
	risk, _ := s.RiskAt(at)
	return risk.Tier()
}
