package appraisal

import (
	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers"
)

// ParseBuiltin reads a compiled-in policy by name.
var ParseBuiltin = parseBuiltin

// ParsePolicyFor reads a policy document for a build that has these verifiers.
func ParsePolicyFor(list []verifiers.Verifier, source string, doc []byte) (*Policy, error) {
	return parsePolicy(source, doc, tablesOf(list))
}

// WorstScored returns every reason that a policy can score for a format, as if all of its scored
// checks failed at once.
func WorstScored(p *Policy, format attestd.Format) []attestd.Reason {
	var reasons []attestd.Reason
	for _, r := range p.formats[format].rules {
		for _, made := range []outcome{r.otherwise, r.noneLoaded} {
			if !r.any && made.effect == attestd.EffectScored {
				reasons = append(reasons, attestd.Reason{
					Check: r.spec.ID, Group: r.spec.Group, Points: made.points, Effect: made.effect,
				})
			}
		}
	}
	return reasons
}
