package explain

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/attestd/attestd/internal/decision"
)

// KindReason is for why a decision was a denial, as answers and records have it.
const KindReason Kind = "reason"

// gateWhy is where no policy is asked, and none could help.
const gateWhy = " A gate: no policy is asked."

// reasonWords say why each code denies, beside what [decision.Spec] has.
var reasonWords = map[decision.Code]string{
	decision.CodeMalformed: "A question that can be read in two ways is answered for one of them." + gateWhy,
	decision.CodeUnauthenticated: "Who the caller is comes from its credential alone; what a request says of itself " +
		"is not looked at." + gateWhy,
	decision.CodeExpired: "A credential that is over may be in anybody's hands by now." + gateWhy,
	decision.CodeBundleUnavailable: "Without the bundle no signature of that trust domain can be told from a forged " +
		"one." + gateWhy,
	decision.CodeStateUnavailable: "What is not known may be that the caller is held: not known is never well." + gateWhy,
	decision.CodeQuarantined: "What was taken over while it ran attests as well as before; its credentials are good " +
		"until they end, so each question is denied." + gateWhy,
	decision.CodeRevoked: "A person decided that it never acts again." + gateWhy,
	decision.CodeNotAttested: "A credential without attested hardware behind it is a file that somebody has. Every " +
		"node that could have obtained the identity must be good, not one of them." + gateWhy,
	decision.CodeStale: "What nobody has looked at since may be anything by now; decisions.fresh is the bound." + gateWhy,
	decision.CodeRiskSpike: "It was trusted when its credential was issued, and is not now: the risk is that of the " +
		"worst node it runs on, with what was reported about it." + gateWhy,
	decision.CodeTenantUnknown: "The tenant comes from who owns the hardware, and from nothing that anybody asks: " +
		"without it nothing keeps tenants apart." + gateWhy,
	decision.CodeUnknownIdentity: "Nobody wrote down what it is for, so nothing says what would be wrong for it." + gateWhy,
	decision.CodeRetired: "Its owner says that it is gone: whoever still uses the name is somebody else, or was " +
		"forgotten." + gateWhy,
	decision.CodeNoPolicy: "No policy name stands in its record, or none of that name is in force: attestd policy show " +
		"lists those that records can be bound to.",
	decision.CodeMissingProof: "All three proofs must be made: who asks, what for, and that policy allows it. An " +
		"action, a resource or its tenant that is not named cannot be judged." + gateWhy,
	decision.CodeThrottled:         "Guessing takes many questions, and a caller at a higher risk has fewer." + gateWhy,
	decision.CodePolicyUnavailable: "Without policies nothing forbids; so nothing is permitted.",
	decision.CodePolicyError: "A policy that failed may be the one that forbids: nothing is permitted beside it. " +
		"An overflow of numbers is the usual cause.",
	decision.CodeNotPermitted: "What nobody thought of is denied. A forbid without @reason denies as this, too.",
	decision.CodeTenantMismatch: "Data of one tenant in another one's prompts is what isolation is for. A record that " +
		"names another tenant than the hardware is denied so as well.",
	decision.CodePurposeMismatch: "Genuine software on genuine hardware can still be the wrong one to do it: an " +
		"evaluation agent does not write to the feature store.",
	decision.CodeBlastRadius: "What is taken over reaches what its record lists, and no more.",
	decision.CodeRing:        "What is tried out in one ring must not reach the others.",
	decision.CodeStepUp: "What is privileged wants to know how the caller stands now, and not how it stood within the " +
		"hour. The answer has the obligation step-up.",
	decision.CodeClassification: "Such data leaves trusted zones in nobody's prompt.",
	decision.CodeWeakChain: "Somebody with fewer rights acts through somebody with more: the chain says for whom, and " +
		"a link that is only asserted may be made up.",
	decision.CodeNovelScope: "What a workload needs changes with its releases, and seldom all at once: much that is " +
		"new at one time is somebody who looks round.",
	decision.CodeTenantPivot: "One other tenant is a mistake; several are somebody who looks round.",
	decision.CodeDenialBurst: "Whoever tries what it may not is told apart from whoever errs once.",
	decision.CodeTwoPlaces:   "A token that was copied is used by two: one of them is not the caller.",
	decision.CodeObligation:  "An allow with a condition is none where nobody sees to the condition.",
	decision.CodeDeadline: "Whoever waits for an answer must not take none for an allow; what is late is denied, " +
		"whatever it would have been.",
	decision.CodeRecordsUnavailable: "What nobody can show afterwards is not allowed.",
	decision.CodeInternal:           "A bug, or a question that nobody foresaw, is never an allow.",
}

func reasonEntries() []Entry {
	specs := decision.Specs()
	out := make([]Entry, 0, len(specs))
	for _, spec := range specs {
		why := reasonWords[spec.Code]
		if why == "" {
			why = "A decision is denied for it." // a test demands better words
		}
		why += fmt.Sprintf(" Proxies are answered %d %s.", spec.Status, http.StatusText(spec.Status))
		if len(spec.ATLAS) > 0 {
			why += " It suggests " + strings.Join(spec.ATLAS, ", ") + " of MITRE ATLAS."
		}
		out = append(out, Entry{
			ID: string(spec.Code), Kind: KindReason, Title: "denied: " + spec.Meaning, Why: why, Hint: spec.Remedy,
			Spec: "attestd: docs/reference/reasons.md",
		})
	}
	return out
}
