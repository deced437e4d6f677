package result

import (
	"fmt"
	"slices"

	"github.com/attestd/attestd"
)

// A result of composed evidence has a part for the whole, under the name of its format, and one for
// each device, under its path (RFC 9711, section 4.2.18: a submodule is "a subsystem, subcomponent, or
// a separate entity"). Whoever reads all parts and goes by the worst loses nothing: the whole is never
// better than a device. Whoever reads one part reads the whole's, which alone has subject, key, nonce
// and edges.

// edge is an edge without its words, which are for people.
type edge struct {
	From  string        `json:"from"`
	To    string        `json:"to"`
	Grade attestd.Grade `json:"grade"`
}

func edgesOf(given attestd.Appraisal) []edge {
	out := make([]edge, 0, len(given.Edges))
	for _, one := range given.Edges {
		out = append(out, edge{From: one.From, To: one.To, Grade: one.Grade})
	}
	return out
}

// part returns what every part has: status, vector and policy.
func (n names) part(given attestd.Appraisal, status Status) map[string]any {
	submod := map[string]any{n.status: status}
	// With "none" there is no claim beside it: readers that work the status out of the vector
	// (veraison/ear, UpdateStatusFromTrustVector) would make of an undecided verdict what the rest affirms.
	submod[n.vector] = map[string]int8{}
	if status != None {
		submod[n.vector] = vectorOf(given.Trust)
	}
	policy := given.Policy.ID
	if given.Policy.Digest != "" {
		policy += "@" + given.Policy.Digest
	}
	switch {
	case policy == "":
	case n.severalPolicies:
		submod[n.policy] = []string{policy}
	default:
		submod[n.policy] = policy
	}
	return submod
}

// addDevices adds a part for each device. Neither what a device says of itself nor its handles are in
// it.
//
// Errors: where a device has the name of another part, which would take the place of that.
func (n names) addDevices(submods map[string]any, given attestd.Appraisal) error {
	for _, device := range given.Devices {
		if _, taken := submods[device.Path]; taken {
			return fmt.Errorf("device %q has the name of another part", attestd.Excerpt(device.Path, 40))
		}
		alone := attestd.Appraisal{
			Verdict: device.Verdict, Tier: device.Tier, Risk: device.Risk, Trust: device.Trust,
			Policy: given.Policy,
		}
		submod := n.part(alone, StatusOf(alone, attestd.StateUnknown))
		submod[Own] = own{
			Format: device.Format, Verdict: device.Verdict, RiskScore: device.Risk, Tier: device.Tier,
			Freshness: device.Freshness, EvidenceAt: given.At.Unix(), Policy: given.Policy,
			Device:  device.Path,
			Failing: failing(given, func(c attestd.Check) bool { return c.Device == device.Path }),
		}
		submods[device.Path] = submod
	}
	return nil
}

// failing lists the checks that failed, each once.
func failing(given attestd.Appraisal, about func(attestd.Check) bool) []attestd.CheckID {
	out := []attestd.CheckID{}
	for _, check := range given.Checks {
		if check.Result == attestd.ResultFail && about(check) && !slices.Contains(out, check.ID) {
			out = append(out, check.ID)
		}
	}
	return out
}
