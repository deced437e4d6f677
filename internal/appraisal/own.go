package appraisal

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/attestd/attestd"
)

// CheckTenant is failed by a machine that belongs to another tenant than it was judged for, and by one
// that an operator denied.
const CheckTenant attestd.CheckID = "ownership/tenant"

// Own returns the verdict as it would be had the evidence itself said how the machine is known to be
// ours: check, reason, risk, tier, verdict and trust vector. Whoever keeps the list of machines
// decides that, and not the worker that read the evidence. A method that is none of the fact's values
// counts as "none". The verdict that was given is left as it is.
//
// Policy is the one that the verdict was made under: under another nothing can be decided, and the
// verdict says so. Where nothing was verified or the policy does not name the format, there is no
// ownership to state, and the verdict stays as it is.
func Own(policy *Policy, verdict attestd.Appraisal, method string) attestd.Appraisal {
	work := reopen(policy, verdict)
	if !verified(verdict) || policy == nil {
		return verdict
	}
	if policy.ref != verdict.Policy {
		work.fixed(CheckPolicy, "another policy than that of the verdict", "the same policy")
		return work.closed()
	}
	of := policy.formats[verdict.Format]
	if of == nil {
		return verdict
	}
	rules := of.rules
	rule, at := ruleOf(rules, CheckOwnership), indexOfCheck(work.verdict.Checks, CheckOwnership, "")
	if rule == nil || at < 0 {
		// A verdict about claims has this check: one without it was not made by Appraise.
		work.fixed(CheckClaims, "a verdict without a check of ownership", "every check of the policy")
		return work.closed()
	}
	stated := attestd.Text(ownershipNone)
	if slices.Contains(owners, method) {
		stated = attestd.Text(method)
	}
	found := rule.compare(stated, true, "")
	check := attestd.Check{
		ID: rule.spec.ID, Result: found.result, Got: found.got, Want: found.want,
		Spec: rule.spec.Spec, Hint: rule.spec.Hint,
	}
	work.verdict.Checks[at] = check
	work.verdict.Reasons = slices.DeleteFunc(work.verdict.Reasons, func(r attestd.Reason) bool {
		return r.Check == CheckOwnership
	})
	if found.result == attestd.ResultFail {
		work.reason(check, rule.spec.Group, found.outcome, rule.spec.Proves)
	}
	work.verdict.Trust.InstanceIdentity = instanceIdentity(rules, work.verdict)
	return work.closed()
}

// Foreign returns the verdict about a machine that belongs to another tenant: rejected. Which tenant
// that is, it does not say: the caller is not to learn it.
func Foreign(policy *Policy, verdict attestd.Appraisal) attestd.Appraisal {
	work := reopen(policy, Own(policy, verdict, ownershipNone))
	work.fixed(CheckTenant, "a machine of another tenant", "a machine of this tenant")
	return work.closed()
}

// Denied returns the verdict about a machine that an operator said no to: rejected, whatever the policy
// makes of a machine that is nobody's.
func Denied(policy *Policy, verdict attestd.Appraisal) attestd.Appraisal {
	work := reopen(policy, Own(policy, verdict, ownershipNone))
	work.fixed(CheckTenant, "a machine that an operator denied", "a machine of this tenant")
	return work.closed()
}

// verified reports whether the verdict is about claims.
func verified(verdict attestd.Appraisal) bool {
	view := bytes.TrimSpace(verdict.Claims)
	return len(view) > 0 && !bytes.Equal(view, []byte("null"))
}

// reopen returns an appraiser that goes on with a verdict, whose slices are its own.
func reopen(policy *Policy, verdict attestd.Appraisal) *appraiser {
	verdict.Checks = slices.Clone(verdict.Checks)
	verdict.Reasons = slices.Clone(verdict.Reasons)
	return &appraiser{input: Input{Policy: policy, Format: verdict.Format}, verdict: verdict}
}

// closed puts the reasons into the order in which the checks ran, then worst first, and scores them.
func (w *appraiser) closed() attestd.Appraisal {
	slices.SortStableFunc(w.verdict.Reasons, func(a, b attestd.Reason) int {
		return indexOfCheck(w.verdict.Checks, a.Check, a.Device) -
			indexOfCheck(w.verdict.Checks, b.Check, b.Device)
	})
	worstFirst(w.verdict.Reasons)
	w.verdict.Risk, w.verdict.Tier = Score(w.verdict.Reasons)
	w.verdict.Verdict = w.verdict.Tier.Verdict()
	return w.verdict
}

// instanceIdentity says anew what the checks say of the instance: each in its turn, since what an
// unknown owner means depends on what was known before.
func instanceIdentity(rules []rule, verdict attestd.Appraisal) int8 {
	made := vector{profile: profiles[verdict.Format]}
	var claims struct {
		Residency any `json:"ak_residency"`
	}
	if err := json.Unmarshal(verdict.Claims, &claims); err == nil {
		made.nameOperatorsKey(claims.Residency == "none")
	}
	for i := range verdict.Devices {
		made.include(verdict.Devices[i].Format, verdict.Devices[i].Trust)
	}
	for i := range rules {
		at := indexOfCheck(verdict.Checks, rules[i].spec.ID, "")
		found := finding{result: attestd.ResultFail, outcome: rules[i].otherwise}
		if at >= 0 {
			found.result = verdict.Checks[at].Result
		}
		made.note(&rules[i].spec, found)
	}
	return made.trust.InstanceIdentity
}

func ruleOf(rules []rule, id attestd.CheckID) *rule {
	for i := range rules {
		if rules[i].spec.ID == id {
			return &rules[i]
		}
	}
	return nil
}

// indexOfCheck finds the check of the device, or with an empty device that of the whole.
func indexOfCheck(checks []attestd.Check, id attestd.CheckID, device string) int {
	return slices.IndexFunc(checks, func(c attestd.Check) bool { return c.ID == id && c.Device == device })
}
