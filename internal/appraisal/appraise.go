// Package appraisal decides what verified claims are worth under a policy: a verdict, a risk with
// reasons, and a trust vector.
//
// What comes in is what a verifier returned, a policy, reference values and a time. What is true if
// the verdict is "accepted": the claims came out of a verification of this very evidence, every
// check that the policy names was made, none of those that reject or leave undecided failed, and the
// points of the others stay below 70. What is not shown: that the policy demands enough, that
// reference values name good software, or whose machine it is (until machines are enrolled).
package appraisal

import (
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
)

// Input is everything an appraisal depends on. The same Input gives the same Appraisal.
type Input struct {
	Format attestd.Format
	// Claims and Err are what the verifier returned. Where both are set, Err counts.
	Claims *attestd.Claims
	Err    error
	// Policy to appraise under; without one nothing is accepted.
	Policy *Policy
	// References may be empty.
	References *measurements.Index
	// At is the time as of which the evidence was judged.
	At             time.Time
	EvidenceDigest [32]byte
	// Specs are the checks of the format's verifier; of one that composes, those of its parts too.
	Specs []attestd.CheckSpec
}

// Appraise returns the verdict. It never fails: what cannot be judged is rejected or undecided.
func Appraise(input Input) attestd.Appraisal {
	work := &appraiser{
		input: input,
		verdict: attestd.Appraisal{
			Schema: attestd.VerdictSchema, Format: input.Format, At: input.At.UTC(),
			Claims:         []byte("null"),
			EvidenceSHA256: hex.EncodeToString(input.EvidenceDigest[:]),
		},
	}
	if input.Policy != nil {
		work.verdict.Policy = input.Policy.ref
	}
	work.run()
	worstFirst(work.verdict.Reasons)
	work.verdict.Risk, work.verdict.Tier = Score(work.verdict.Reasons)
	work.verdict.Verdict = work.verdict.Tier.Verdict()
	return work.verdict
}

type appraiser struct {
	input   Input
	verdict attestd.Appraisal
	// device is the path of the device that is appraised; empty for the whole.
	device string
}

func (w *appraiser) run() {
	w.verdict.Checks, w.verdict.Reasons = []attestd.Check{}, []attestd.Reason{}
	var rejected *attestd.EvidenceError
	var undecided *attestd.UndecidedError
	claims := w.input.Claims
	switch {
	case errors.As(w.input.Err, &rejected) && rejected != nil:
		w.answered(rejected.Checks, attestd.Check{
			ID: rejected.Check, Result: attestd.ResultFail, Got: rejected.Got, Want: rejected.Want,
			Spec: rejected.Spec, Hint: rejected.Hint,
		}, attestd.EffectRejects)
		w.verdict.Trust = failedVector(rejected.Class)
	case errors.As(w.input.Err, &undecided) && undecided != nil:
		w.answered(undecided.Checks, attestd.Check{
			ID: undecided.Check, Result: attestd.ResultFail, Got: undecided.Got, Want: undecided.Want,
			Spec: undecided.Spec, Hint: undecided.Hint,
		}, attestd.EffectUndecided)
	case w.input.Err != nil:
		w.fixed(CheckClaims, "an error that is no answer", "claims")
	case !claims.Proven():
		// Nil or zero Claims without an error are a fault of the verifier, and the attacker who
		// finds one must not be let in by it.
		w.fixed(CheckClaims, "no claims and no error", "claims")
	case claims.Format() != w.input.Format:
		w.fixed(CheckClaims, "claims of format "+string(claims.Format()), string(w.input.Format))
	case claims.EvidenceDigest() != w.input.EvidenceDigest:
		w.fixed(CheckClaims, "claims about other evidence", "claims about this evidence")
	default:
		w.claims()
	}
}

// answered takes over a verifier's own answer: what could not be verified is not appraised.
func (w *appraiser) answered(checks []attestd.Check, last attestd.Check, effect attestd.Effect) {
	w.verdict.Checks = append(w.verdict.Checks, checks...)
	if len(checks) == 0 || checks[len(checks)-1].ID != last.ID {
		w.verdict.Checks = append(w.verdict.Checks, last)
	} else {
		last = checks[len(checks)-1] // as recorded, which may tell more of what was seen
	}
	group := attestd.GroupAuthenticity
	for _, spec := range w.input.Specs {
		if spec.ID == last.ID {
			group = spec.Group
		}
	}
	w.reason(last, group, outcome{effect: effect}, "")
}

// fixed fails a check that no policy steers.
func (w *appraiser) fixed(id attestd.CheckID, got, want string) {
	for _, spec := range fixedSpecs {
		if spec.ID != id {
			continue
		}
		check := attestd.Check{
			ID: id, Device: w.device, Result: attestd.ResultFail, Got: got, Want: want, Spec: spec.Spec,
			Hint: spec.Hint,
		}
		w.verdict.Checks = append(w.verdict.Checks, check)
		made := outcome{effect: attestd.EffectRejects}
		switch id {
		case CheckPolicy:
			made.effect = attestd.EffectUndecided
		case CheckRoots:
			made = outcome{effect: attestd.EffectScored, points: RootsFloor}
		}
		w.reason(check, spec.Group, made, "")
	}
}

// passed records a check that no policy steers and that was met.
func (w *appraiser) passed(id attestd.CheckID, got, want string) {
	for _, spec := range fixedSpecs {
		if spec.ID == id {
			w.verdict.Checks = append(w.verdict.Checks, attestd.Check{
				ID: id, Device: w.device, Result: attestd.ResultPass, Got: got, Want: want, Spec: spec.Spec,
				Hint: spec.Hint,
			})
		}
	}
}

var fixedSpecs = fixedChecks()

// claims appraises what was verified.
func (w *appraiser) claims() {
	claims := w.input.Claims
	verified := claims.Checks()
	room := len(verified) + 8
	if of := w.section(w.input.Format); of != nil {
		room += len(of.rules)
	}
	w.verdict.Checks = append(make([]attestd.Check, 0, room), verified...)
	w.verdict.Summary, w.verdict.Freshness = claims.Summary(), claims.Freshness()
	if view, err := claims.MarshalJSON(); err == nil {
		w.verdict.Claims = view
	}
	w.verdict.Handles = slices.Collect(claims.Handles())
	vector := vectorOf(claims)
	w.devices(&vector)
	w.appraise(claims, &vector)
	w.verdict.Trust = vector.trust
}

// section returns what the policy says about a format; nil where there is no policy, or it does not
// name the format.
func (w *appraiser) section(format attestd.Format) *section {
	if w.input.Policy == nil {
		return nil
	}
	return w.input.Policy.formats[format]
}

// appraise holds claims, of the whole or of the device at hand, to the rules of their format.
func (w *appraiser) appraise(claims *attestd.Claims, vector *vector) {
	if claims.InsecureRoots() {
		w.fixed(CheckRoots, "a root that was loaded by hand", "a root that is compiled in")
	} else {
		w.passed(CheckRoots, "a root that is compiled in", "a root that is compiled in")
	}
	format := claims.Format()
	of := w.section(format)
	switch {
	case w.input.Policy == nil:
		w.fixed(CheckPolicy, "no policy", "a policy")
	case of == nil:
		w.fixed(CheckFormat, "no rules for "+string(format), "rules for every check")
	default:
		w.passed(CheckFormat, string(format), string(format))
		if composed := hasDevices(claims); composed != of.composed || composed && w.device != "" {
			w.fixed(CheckClaims, devicesOrNot[composed], devicesOrNot[of.composed && w.device == ""])
		}
		for i := range of.rules {
			// Whose machine it is is asked once, of the whole.
			if r := &of.rules[i]; w.device == "" || r.spec.ID != CheckOwnership {
				w.apply(claims, r, vector)
			}
		}
	}
}

// apply makes one check of the policy.
func (w *appraiser) apply(claims *attestd.Claims, r *rule, vector *vector) {
	var found finding
	switch {
	case r.spec.Rule == attestd.RuleReference:
		match := measurements.Match{}
		if !r.any {
			match = w.input.References.MatchClaims(claims, w.input.At)
		}
		found = r.compareReference(match, measured(claims))
	case r.spec.ID == CheckOwnership:
		found = r.compare(ownershipOf(claims), true, "")
	default:
		value, known := claims.Fact(r.spec.Fact)
		found = r.compare(value, known, claims.Product())
	}
	check := attestd.Check{
		ID: r.spec.ID, Device: w.device, Result: found.result, Got: found.got, Want: found.want,
		Spec: r.spec.Spec, Hint: r.spec.Hint,
	}
	if found.remedy != "" {
		check.Hint = found.remedy
	}
	w.verdict.Checks = append(w.verdict.Checks, check)
	if found.result == attestd.ResultFail {
		w.reason(check, r.spec.Group, found.outcome, r.spec.Proves)
	}
	vector.note(&r.spec, found)
}

// reason adds what a failed check means for the risk.
func (w *appraiser) reason(check attestd.Check, group attestd.Group, made outcome, proves string) {
	points := 100
	if made.effect == attestd.EffectScored {
		points = made.points
	}
	detail := "got " + check.Got + ", want " + check.Want
	switch {
	case check.Got == "" && check.Want == "":
		detail = "not shown: " + proves
	case check.Want == "":
		detail = "got " + check.Got
	}
	w.verdict.Reasons = append(w.verdict.Reasons, attestd.Reason{
		Check: check.ID, Device: check.Device, Group: group, Points: points, Effect: made.effect,
		Detail: detail, Remedy: check.Hint,
	})
}
