package report

import (
	"slices"
	"strconv"

	"github.com/attestd/attestd"
)

// outcome is what became of one check under the policy that was applied: the words that every
// rendering uses, so that text, JUnit and SARIF cannot count differently.
type outcome uint8

const (
	outcomeFail outcome = iota // the zero outcome is the worst
	outcomeUndecided
	outcomeWarning
	outcomePass
	outcomeNotApplicable
)

var outcomeLabels = [...]string{"FAIL", "UNDECIDED", "WARN", "pass", "n/a"}

func (o outcome) label() string { return outcomeLabels[o] }

func (o outcome) style() string {
	switch o {
	case outcomeFail:
		return styleBad
	case outcomeUndecided, outcomeWarning:
		return styleWarn
	default:
		return ""
	}
}

// finding is a check with what the policy made of it.
type finding struct {
	outcome outcome
	check   attestd.Check
	reason  attestd.Reason // zero where the check gave none
}

// findingsOf joins checks with reasons. A reason that names no failed check (a root that was loaded
// by hand, for instance) becomes a finding of its own: what costs points is never left out.
func findingsOf(a attestd.Appraisal) []finding {
	// The same check can fail on two devices, for two reasons.
	type key struct {
		check  attestd.CheckID
		device string
	}
	reasons := make(map[key]attestd.Reason, len(a.Reasons))
	for _, reason := range a.Reasons {
		if _, double := reasons[key{reason.Check, reason.Device}]; !double {
			reasons[key{reason.Check, reason.Device}] = reason
		}
	}
	out := make([]finding, 0, len(a.Checks)+len(a.Reasons))
	told := make(map[key]bool, len(a.Checks))
	for _, check := range a.Checks {
		found := finding{outcome: outcomePass, check: check}
		switch check.Result {
		case attestd.ResultPass:
		case attestd.ResultNotApplicable:
			found.outcome = outcomeNotApplicable
		default: // failed, or a result that was never set: a check that did not run did not pass
			found.reason = reasons[key{check.ID, check.Device}]
			found.outcome = outcomeOf(found.reason)
			told[key{check.ID, check.Device}] = true
		}
		out = append(out, found)
	}
	for _, reason := range a.Reasons {
		if told[key{reason.Check, reason.Device}] {
			continue
		}
		told[key{reason.Check, reason.Device}] = true
		out = append(out, finding{
			outcome: outcomeOf(reason), reason: reason,
			check: attestd.Check{
				ID: reason.Check, Device: reason.Device, Result: attestd.ResultFail, Got: reason.Detail,
				Hint: reason.Remedy,
			},
		})
	}
	return out
}

func outcomeOf(reason attestd.Reason) outcome {
	switch reason.Effect {
	case attestd.EffectScored:
		return outcomeWarning
	case attestd.EffectUndecided:
		return outcomeUndecided
	default:
		return outcomeFail
	}
}

// tally counts findings by outcome.
func tally(findings []finding) (counts [outcomeNotApplicable + 1]int) {
	for _, found := range findings {
		counts[found.outcome]++
	}
	return counts
}

// troubles returns what did not pass, worst first and otherwise in the order in which it was found.
func troubles(findings []finding) []finding {
	out := slices.DeleteFunc(slices.Clone(findings), func(f finding) bool {
		return f.outcome >= outcomePass
	})
	slices.SortStableFunc(out, func(a, b finding) int {
		if a.outcome != b.outcome {
			return int(a.outcome) - int(b.outcome)
		}
		return b.reason.Points - a.reason.Points
	})
	return out
}

// name is the check's id, and the device that it is about.
func (f finding) name(most int) string {
	id := Clean(string(f.check.ID), most)
	if f.check.Device == "" {
		return id
	}
	return id + " of " + Clean(f.check.Device, 20)
}

func (f finding) points() string { return "+" + strconv.Itoa(f.reason.Points) + " risk" }

// hint prefers the policy's remedy over the check's general hint: it knows what was wanted.
func (f finding) hint() string {
	if f.reason.Remedy != "" {
		return f.reason.Remedy
	}
	return f.check.Hint
}
