package decision

import (
	"fmt"
	"slices"

	"github.com/attestd/attestd"
)

// StepUp is the obligation to show fresh evidence of hardware.
func StepUp() Obligation {
	return Obligation{
		ID: "step-up-hardware", Type: ObligationStepUp,
		Properties: map[string]any{"acr_value": ACRHardwareFresh, "amr_values": []string{"hwk"}},
	}
}

// Judge decides. It reads nothing but its arguments and changes neither, so that the same input and the
// same policies always give the same result. Policies that are nil, that fail and that panic deny.
func Judge(in *Input, set PolicySet) Result {
	if in.Late {
		return in.deny(Proofs{}, CodeDeadline, "the answer was not there in time")
	}
	var proofs Proofs
	for _, one := range gates {
		code, detail := one.fails(in)
		if code == "" {
			continue
		}
		proofs.fail(one.of, string(code))
		return in.deny(proofs, code, detail)
	}
	proofs.Who = Proof{OK: true, Source: in.Who.Method, Age: in.At.Sub(in.Standing.AttestedAt)}
	proofs.What = Proof{OK: true, Source: string(in.Via)}
	if set == nil {
		return in.deny(proofs, CodePolicyUnavailable, "no policies are in force")
	}
	ruling := evaluate(in, set)
	if ruling.Failed != "" {
		out := in.deny(proofs, ruling.Failed, ruling.Detail)
		out.Policies = ruling.Policies
		return out
	}
	proofs.Policy = Proof{OK: true, Source: "cedar"}
	out := Result{
		Allow: ruling.Allow, Reasons: ruling.Reasons, Proofs: proofs, Obligations: ruling.Obligations,
		Policies: ruling.Policies,
	}
	switch {
	case !ruling.Allow:
		out.Proofs.Policy.OK = false
		if len(out.Reasons) == 0 {
			out.Reasons = []Reason{{Code: CodeNotPermitted, Detail: "no policy permits it"}}
		}
		out.Proofs.Policy.Detail = string(out.Reasons[0].Code)
	case len(ruling.Policies) == 0:
		// Nothing is allowed by nobody's word.
		denied := in.deny(proofs, CodePolicyError, "the policies allow, and name none that does")
		denied.Proofs.Policy.OK = false
		return denied
	default:
		for _, one := range ruling.Obligations {
			if !slices.Contains(in.Supported, one.Type) {
				denied := in.deny(proofs, CodeObligation, "it cannot carry out "+attestd.Excerpt(one.Type, 40))
				denied.Policies = ruling.Policies
				return denied
			}
		}
	}
	return out
}

// evaluate asks the policies. What breaks in them is theirs, and denies.
func evaluate(in *Input, set PolicySet) (ruling Ruling) {
	defer func() {
		if broken := recover(); broken != nil {
			ruling = Ruling{
				Failed: CodePolicyError, Detail: attestd.Excerpt(fmt.Sprintf("a policy broke: %v", broken), 200),
			}
		}
	}()
	return set.Evaluate(in)
}

// deny is a denial for one reason. What fresh evidence would mend asks for it.
func (in *Input) deny(proofs Proofs, code Code, detail string) Result {
	out := Result{Reasons: []Reason{{Code: code, Detail: detail}}, Proofs: proofs}
	if code == CodeStale || code == CodeStepUp {
		out.Obligations = []Obligation{StepUp()}
	}
	return out
}

func (p *Proofs) fail(of proof, detail string) {
	if of == proofWho {
		p.Who.Detail = detail
	} else {
		p.What.Detail = detail
	}
}
