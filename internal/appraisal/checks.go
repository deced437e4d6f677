package appraisal

import (
	"slices"

	"github.com/attestd/attestd"
)

// Ids of the checks that are made here, for every format.
const (
	// CheckClaims is failed by a verifier that returned neither Claims nor an answer.
	CheckClaims attestd.CheckID = "appraisal/claims-proven"
	// CheckPolicy is failed where there is no policy.
	CheckPolicy attestd.CheckID = "policy/loaded"
	// CheckFormat is failed by evidence of a format that the policy does not name.
	CheckFormat attestd.CheckID = "policy/format-named"
	// CheckRoots is failed by a chain that ends in a root loaded by hand.
	CheckRoots attestd.CheckID = "roots/pinned"
	// CheckMeasurement compares the registers with reference values.
	CheckMeasurement attestd.CheckID = "measurement/known"
	// CheckOwnership asks whose machine it is.
	CheckOwnership attestd.CheckID = "ownership/known"
)

// factOwnership is the fact that CheckOwnership compares: how a machine is known to be ours. A
// verifier states it where the operator's own list names the machine; everything else, and no such
// fact, is "none".
const (
	factOwnership = "ownership"
	ownershipNone = "none"
)

// owners are the ways in which a machine can be known to be ours.
var owners = []string{"inventory", "cloud-account", "enrolment"}

// ownershipOf returns how the machine is known to be ours.
func ownershipOf(claims *attestd.Claims) attestd.Value {
	value, _ := claims.Fact(factOwnership)
	if text, ok := value.Text(); ok && slices.Contains(owners, text) {
		return value
	}
	return attestd.Text(ownershipNone)
}

// Checks lists the checks that are made here for every format, in the order in which they run.
func Checks() []attestd.CheckSpec {
	return append(fixedChecks(), sharedChecks()...)
}

// fixedChecks are decided without a parameter of the policy.
func fixedChecks() []attestd.CheckSpec {
	return []attestd.CheckSpec{
		{
			ID: CheckClaims, Class: attestd.ClassInternal, Group: attestd.GroupAuthenticity,
			Proves: "the facts came out of a verification of this very evidence",
			Why:    "whoever finds a way around the verifier would have anything accepted",
			Spec:   "RFC 9334, section 8.4 (claims that are appraised come from verified evidence)",
			Hint:   "this is a fault of attestd; report it with the output of `attestd version`",
		},
		{
			ID: CheckPolicy, Class: attestd.ClassPolicyUnavailable, Group: attestd.GroupPlatform,
			Proves: "there is a policy to appraise under",
			Why:    "without a policy nothing would be demanded, and everything accepted",
			Spec:   "RFC 9334, section 8.5 (appraisal policy for evidence)",
			Hint:   "load a policy (production and recorded are built in), then ask again",
		},
		{
			ID: CheckFormat, Class: attestd.ClassPolicyDeny, Group: attestd.GroupPlatform,
			Proves: "the policy says what it demands of evidence of this format",
			Why:    "evidence of a format that nobody thought of would be held to no demand at all",
			Spec:   "RFC 9334, section 8.5 (appraisal policy for evidence)",
			Hint:   "name the format in the policy with all its checks; see docs/policy.md",
		},
		{
			ID: CheckRoots, Class: attestd.ClassChain, Group: attestd.GroupRoots,
			Proves: "the certificate chain ends in a vendor's root that is compiled in",
			Why:    "whoever made a root that was loaded by hand can make any evidence",
			Spec:   "RFC 9334, section 7.4 (trust in the endorser); attestd: docs/policy.md",
			Hint:   "judge without --insecure-roots; its risk is never below 60",
		},
		{
			ID: CheckTenant, Class: attestd.ClassPolicyDeny, Group: attestd.GroupIdentity,
			Proves: "the machine is neither another tenant's than the one it was judged for, nor denied",
			Why:    "what one tenant's lax policy accepts would be signed for by an issuer that another trusts",
			Spec:   "attestd: docs/howto/enrol.md, tenants",
			Hint:   "ask with the tenant that the machine was enrolled for; `attestd enroll ls` lists yours, and who is denied",
		},
	}
}

// sharedChecks are the checks that every format of every policy has a rule for, beside those of its
// verifier.
func sharedChecks() []attestd.CheckSpec {
	return []attestd.CheckSpec{
		{
			ID: CheckMeasurement, Class: attestd.ClassMeasurement, Group: attestd.GroupMeasurement,
			Stage: attestd.StageAppraise, Rule: attestd.RuleReference, Fact: "measurement",
			Proves: "what runs is what an active or retiring reference value names",
			Why:    "genuine hardware measures an attacker's image as faithfully as yours",
			Spec:   "RFC 9334, section 8.3 (reference values)",
			Hint:   "`attestd measure` writes its value; if the change is intended, make it active",
		},
		{
			ID: CheckOwnership, Class: attestd.ClassPlatform, Group: attestd.GroupIdentity,
			Stage: attestd.StageAppraise, Rule: attestd.RuleOneOf, Fact: factOwnership,
			Values: owners,
			Proves: "the machine is one of ours, by inventory, cloud account or enrolment",
			Why:    "anyone can start a published image on a genuine chip of their own",
			Spec:   "attestd: docs/policy.md, ownership",
			Hint:   "of a TPM: name its EK under endorsement-keys (--reference) and enrol it; else accept the risk",
		},
	}
}
