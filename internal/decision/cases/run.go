package cases

import (
	"github.com/attestd/attestd/internal/decision"
)

// Outcome is what came of a case.
type Outcome struct {
	Name string `json:"name"`
	Line int    `json:"line"`
	OK   bool   `json:"ok"`
	// Want and Got are "allow" or the code of the denial.
	Want string `json:"want"`
	Got  string `json:"got"`
	// Reasons are all of a denial; the first decided.
	Reasons []decision.Reason `json:"reasons"`
	// Policies are those that decided; empty where a gate did.
	Policies []string `json:"policies"`
}

// Judge decides about an input ([decision.Judge]).
type Judge func(in *decision.Input, set decision.PolicySet) decision.Result

// Run asks a policy set every case, in their order.
func Run(all []Case, set decision.PolicySet, judge Judge) []Outcome {
	out := make([]Outcome, 0, len(all))
	for i := range all {
		out = append(out, all[i].run(set, judge))
	}
	return out
}

func (c *Case) run(set decision.PolicySet, judge Judge) Outcome {
	in := c.Input // policies cannot write to the case
	got := judge(&in, set)
	out := Outcome{
		Name: c.Name, Line: c.Line, Want: word(c.Want), Got: Allow,
		Reasons: append([]decision.Reason{}, got.Reasons...), Policies: append([]string{}, got.Policies...),
	}
	if !got.Allow {
		out.Got = string(decision.CodeInternal) // a denial without a reason is a bug of ours
		if len(got.Reasons) > 0 {
			out.Got = string(got.Reasons[0].Code)
		}
	}
	out.OK = out.Got == out.Want
	return out
}

func word(want decision.Code) string {
	if want == "" {
		return Allow
	}
	return string(want)
}
