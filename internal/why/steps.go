package why

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

func evidenceStep(f Facts) finding {
	one := f.Known.Subject
	if named := f.Appraisal; named != nil && (one == nil || one.AppraisalID == named.ID) {
		return finding{skipped: true} // the step before said it
	}
	if one == nil || one.EvidenceAt.IsZero() && one.State == attestd.StateUnknown {
		if _, asked := ownerOf(f.Known.Owners, subject.StatusPending); asked {
			return fine("authentic, but not somebody's yet")
		}
		if _, denied := ownerOf(f.Known.Owners, subject.StatusDenied); denied {
			return finding{skipped: true} // that it is denied says more than that it was never accepted
		}
		if slices.ContainsFunc(f.Known.Owners, func(o subject.Ownership) bool { return o.Owns(f.Now) }) {
			return finding{
				code: NeverSeen, detail: "none was ever accepted",
				cause: "the machine is enrolled, but has never given evidence that was accepted",
				fix:   "on the machine: attestd evidence tpm --server https://...   # or the log of its agent",
			}
		}
		if len(f.Known.Owners) > 0 {
			return finding{skipped: true}
		}
		return finding{
			code: NeverSeen, detail: "none was ever accepted", ends: true,
			cause: "nobody of this name or hardware has ever been seen here",
			fix: "check the spelling: attestd subject ls --text PART; or on the machine: attestd evidence tpm " +
				"--server https://...",
		}
	}
	if verdict := f.Verdict; verdict != nil && verdict.Verdict == attestd.VerdictRejected {
		check, detail := deciding(*verdict)
		return finding{
			code:   EvidenceRejected,
			detail: fmt.Sprintf("rejected %s by %s", ago(verdict.At, f.Now), check),
			cause:  fmt.Sprintf("its latest evidence is rejected by %s: %s", check, attestd.Excerpt(detail, 300)),
			fix:    "attestd explain " + string(check),
		}
	}
	if one.Floor.Tier().Verdict() != attestd.VerdictAccepted && !one.EvidenceAt.IsZero() {
		// It was judged again since, which leaves the verdict that was given as it was.
		return finding{
			code:   EvidenceRejected,
			detail: fmt.Sprintf("accepted %s, and not by what is in force now", ago(one.EvidenceAt, f.Now)),
			cause: "its latest evidence was accepted when it was given; the policy or the reference values " +
				"in force now reject it",
			fix: "attestd subject history " + string(one.ID) + "   # names the check",
		}
	}
	return fine("accepted %s", ago(one.EvidenceAt, f.Now))
}

// deciding returns what rejected: reasons come worst first.
func deciding(verdict attestd.Appraisal) (attestd.CheckID, string) {
	for _, reason := range verdict.Reasons {
		if reason.Effect == attestd.EffectRejects {
			return reason.Check, reason.Detail
		}
	}
	if len(verdict.Reasons) == 0 {
		return "verdict", "the reasons were not kept"
	}
	return verdict.Reasons[0].Check, fmt.Sprintf("the risk is %s (%s)", verdict.Risk, verdict.Tier)
}

func ownershipStep(f Facts) finding {
	one := f.Known.Subject
	owners := f.Known.Owners
	if denied, found := ownerOf(owners, subject.StatusDenied); found {
		return finding{
			code: Denied, detail: "denied " + ago(denied.DecidedAt, f.Now) + by(denied.By),
			cause: "somebody looked at this machine and refused it" + label(denied),
			fix:   "if that was wrong: attestd enroll rm " + denied.Key.String() + " --reason ..., then let it attest again",
		}
	}
	if tenants := tenantsOf(owners, one, f.Now); len(tenants) > 1 {
		return finding{
			code: OtherTenant, detail: "of more than one tenant: " + strings.Join(tenants, ", "),
			cause: "the hardware is enrolled for another tenant than the subject's",
			fix:   "attestd enroll ls --text " + valueOf(owners) + "   # remove the one that is wrong",
		}
	}
	for _, owner := range owners {
		if owner.Owns(f.Now) {
			return fine("tenant %s by %s%s%s", owner.Tenant, owner.Method, label(owner), until(owner, f.Now))
		}
	}
	if expired, found := ownerOf(owners, subject.StatusApproved); found {
		return finding{
			code: Expired, detail: "ended " + ago(expired.ExpiresAt, f.Now),
			cause: "its enrolment has expired" + label(expired),
			fix: fmt.Sprintf("attestd enroll approve %s --tenant %s --expires ...", expired.Key,
				expired.Tenant),
		}
	}
	if pending, found := ownerOf(owners, subject.StatusPending); found {
		return finding{
			code: NotEnrolled,
			detail: fmt.Sprintf("waits for approval, asked first %s, times in all: %d",
				ago(pending.CreatedAt, f.Now), max(1, pending.Seen)),
			cause: "its hardware is genuine, but nobody has said that it is ours",
			fix:   fmt.Sprintf("attestd enroll approve %s --tenant %s", pending.Key, pending.Tenant),
		}
	}
	if one != nil && one.Ownership != subject.MethodNone && one.Ownership != "" && one.Tenant != "" {
		return fine("tenant %s by %s", one.Tenant, one.Ownership)
	}
	return finding{
		code: NotEnrolled, detail: "nobody's",
		cause: "its hardware is genuine, but nobody has said that it is ours",
		fix:   "attestd enroll import FILE   # or let it attest and look at attestd enroll ls --pending",
	}
}

func ownerOf(owners []subject.Ownership, status subject.Status) (subject.Ownership, bool) {
	for _, owner := range owners {
		if owner.Status == status {
			return owner, true
		}
	}
	return subject.Ownership{}, false
}

// tenantsOf returns the tenants whose the machine would be, in order.
func tenantsOf(owners []subject.Ownership, one *subject.Subject, now time.Time) (tenants []string) {
	for _, owner := range owners {
		if owner.Owns(now) {
			tenants = append(tenants, owner.Tenant)
		}
	}
	if one != nil && one.Tenant != "" && len(tenants) > 0 {
		tenants = append(tenants, one.Tenant)
	}
	slices.Sort(tenants)
	return slices.Compact(tenants)
}

func valueOf(owners []subject.Ownership) string {
	if len(owners) == 0 {
		return "VALUE"
	}
	return owners[0].Key.Value
}

func by(name string) string {
	if name == "" {
		return ""
	}
	return " by " + name
}

func label(owner subject.Ownership) string {
	if owner.Label == "" {
		return ""
	}
	return " (" + attestd.Excerpt(owner.Label, 80) + ")"
}

func until(owner subject.Ownership, now time.Time) string {
	if owner.ExpiresAt.IsZero() {
		return ""
	}
	return ", ends " + ago(owner.ExpiresAt, now)
}

func deadlineStep(f Facts) finding {
	one := f.Known.Subject
	if one == nil || one.DueAt.IsZero() {
		return finding{skipped: true}
	}
	if late := f.Now.After(one.DueAt); late || f.Standing.Overdue || overdueSignal(one) {
		return finding{
			code: Overdue, detail: "fresh evidence was due " + ago(one.DueAt, f.Now),
			cause: "the machine has not attested in time: its agent is down, cut off, or its evidence is not " +
				"accepted any more",
			fix: "on the machine: attestd evidence tpm --server https://...   # then attestd subject history " +
				string(one.ID),
		}
	}
	return fine("fresh evidence is due %s", ago(one.DueAt, f.Now))
}

func overdueSignal(one *subject.Subject) bool {
	return one.State != attestd.StateTrusted && slices.ContainsFunc(one.Signals, func(s subject.Signal) bool {
		return s.Code == subject.CodeOverdue
	})
}

func stateStep(f Facts) finding {
	one := f.Known.Subject
	if one == nil {
		return finding{skipped: true}
	}
	state, risk := one.State, f.Standing.Risk
	if !f.Standing.Known {
		risk = one.Floor
	}
	detail := fmt.Sprintf("%s, risk %s %s", state, risk, risk.Tier())
	if state == attestd.StateTrusted && risk.Tier().Verdict() == attestd.VerdictAccepted {
		return fine("%s", detail)
	}
	out := finding{
		code: Suspect, detail: detail, cause: "something other than its evidence speaks against it",
		fix: "attestd subject history " + string(one.ID),
	}
	var words []string
	for _, signal := range one.Signals {
		if !signal.Until.IsZero() && !f.Now.Before(signal.Until) {
			continue
		}
		text := fmt.Sprintf("%s +%d (%s)", signal.Code, signal.Points, attestd.Excerpt(signal.Detail, 160))
		if !signal.Until.IsZero() {
			text += " until " + signal.Until.UTC().Format(time.RFC3339)
		}
		words = append(words, text)
	}
	switch {
	case len(words) > 0:
		out.cause += ": " + strings.Join(words, "; ")
		out.fix += "   # if it is an incident: attestd quarantine " + string(one.ID) + " --reason ..."
	case state == attestd.StateTrusted:
		out.cause = "its risk is too high for an identity"
	default:
		out.cause = "it is " + state.String() + " and has not given accepted evidence often enough since"
		out.fix = "let it attest again; then attestd why " + string(one.ID)
	}
	return out
}
