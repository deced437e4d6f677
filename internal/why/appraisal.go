package why

import (
	"context"
	"fmt"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// NamesAppraisal reports whether a target has the form of an appraisal's id: a UUID of version 7 (RFC
// 9562, section 5.7). SPIRE's log and those of its agents name refused evidence by it.
func NamesAppraisal(target string) bool {
	const form = "xxxxxxxx-xxxx-7xxx-xxxx-xxxxxxxxxxxx"
	if len(target) != len(form) {
		return false
	}
	for i, c := range []byte(strings.ToLower(target)) {
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
		if form[i] == 'x' && !hex || form[i] != 'x' && c != form[i] {
			return false
		}
	}
	return true
}

// appraisal returns the stored verdict that a target names, nil for none. Another tenant's is none.
func (a *Asker) appraisal(ctx context.Context, asker operator.Principal, target string) *attestd.Appraisal {
	if !NamesAppraisal(target) {
		return nil
	}
	verdict := a.verdict(ctx, strings.ToLower(target))
	if verdict == nil || verdict.Standing != nil && verdict.Standing.Tenant != "" &&
		!asker.Sees(verdict.Standing.Tenant) {
		return nil
	}
	return verdict
}

// askOf says what to look up for a verdict: the subject that it was about, or else the hardware that
// its handles name.
func askOf(verdict *attestd.Appraisal) subject.Ask {
	var out subject.Ask
	if verdict == nil {
		return out
	}
	for _, handle := range verdict.Handles {
		key := subject.Key{Kind: string(handle.Kind), Value: handle.Value}
		switch handle.Kind {
		case attestd.HandleInstance:
			out.Instance = handle
			out.Owners = append(out.Owners, key)
		case attestd.HandleHost:
			out.Owners = append(out.Owners, key)
		case attestd.HandleBoot:
		default:
			continue // nothing is held or owned by it
		}
		out.Bars = append(out.Bars, key)
	}
	if verdict.Standing == nil {
		return out
	}
	if id, err := subject.ParseID(verdict.Standing.Subject); err == nil {
		out.ID, out.Instance = id, attestd.Handle{}
		out.Bars = append(out.Bars, id.Key())
	}
	return out
}

// appraisalStep is about the verdict that was asked for; the steps behind it are about now.
func appraisalStep(f Facts) finding {
	verdict := f.Appraisal
	if verdict == nil {
		return finding{skipped: true}
	}
	what := fmt.Sprintf("%s %s, on %s", verdict.Verdict, ago(verdict.At, f.Now), aboutWhom(*verdict))
	if verdict.Verdict == attestd.VerdictAccepted {
		return fine("%s", what)
	}
	check, detail := deciding(*verdict)
	out := finding{
		code: EvidenceRejected, detail: what + ", by " + string(check),
		cause: fmt.Sprintf("this evidence was rejected by %s: %s", check, attestd.Excerpt(detail, 300)),
		fix:   "attestd explain " + string(check),
		// Evidence that is not authentic names nobody who could be looked up.
		ends: f.Known.Subject == nil && len(verdict.Handles) == 0,
	}
	if verdict.Verdict != attestd.VerdictRejected {
		out.code = EvidenceUndecided
		out.cause = fmt.Sprintf("this evidence could not be judged, by %s: %s", check,
			attestd.Excerpt(detail, 300))
	}
	return out
}

// aboutWhom names whose evidence it was, as far as it said so.
func aboutWhom(verdict attestd.Appraisal) string {
	if verdict.Standing != nil && verdict.Standing.Subject != "" {
		return attestd.Excerpt(verdict.Standing.Subject, 300)
	}
	for _, handle := range verdict.Handles {
		if handle.Kind == attestd.HandleInstance {
			return attestd.Excerpt(string(handle.Kind)+":"+handle.Value, 300)
		}
	}
	return strings.TrimSpace(string(verdict.Format) + " evidence that names nobody")
}

// againstIt reports whether the verdict that was asked for spoke against its subject.
func (f Facts) againstIt() bool {
	return f.Appraisal != nil && f.Appraisal.Verdict != attestd.VerdictAccepted &&
		f.Known != nil && f.Known.Subject != nil && f.Known.Subject.AppraisalID != f.Appraisal.ID
}

// lost says of an appraisal's id that nothing is stored under it, and not that nobody has that name.
func lost(said wire.Why) wire.Why {
	if said.Code != NeverSeen || !NamesAppraisal(said.Target) {
		return said
	}
	said.Cause = "no appraisal of that id is stored here: it is another attestd's or tenant's, or was " +
		"removed by age"
	said.Fix = "attestd subject ls   # then attestd why with the node's name; let it attest again"
	return said
}
