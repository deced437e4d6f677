package service

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/subject"
)

// Desk says whose machines are. Package enrol has the one there is.
type Desk interface {
	Settle(machine enrol.Machine, owners []subject.Ownership) enrol.Settlement
	Asks(ctx context.Context, machine enrol.Machine, settled enrol.Settlement) (
		write *subject.OwnershipWrite, full bool, err error)
	Redeem(ctx context.Context, machine enrol.Machine, settled enrol.Settlement, token string) (
		*enrol.Redemption, error)
}

// Notes takes audit records of which there can be many, folds alike ones and never waits. Package audit
// has the one there is.
type Notes interface{ Note(record audit.Record) }

// Subjects says what is made of verdicts. Every field is required.
type Subjects struct {
	// TrustDomain that the names of subjects begin with.
	TrustDomain string
	Desk        Desk
	Rules       subject.Rules
	// Specs are the checks that a verdict can have, for the classes of refusals.
	Specs []attestd.CheckSpec
	// Notes takes the records of what was refused, which anybody can cause as often as they like.
	Notes Notes
	// Held says whether one of the keys is held by now, also by a hold that the store does not have yet,
	// and which: the worst state, unknown for none.
	Held func(keys ...subject.Key) (attestd.State, subject.Key)
	// Grounds is told what speaks for a quarantine, after the verdict that shows it is on disk and
	// before it is answered.
	Grounds func(ctx context.Context, grounds []subject.Grounds)
}

func (s Subjects) check() error {
	if s.TrustDomain == "" || s.Desk == nil || s.Notes == nil || s.Grounds == nil ||
		s.Held == nil ||
		len(s.Specs) == 0 || s.Rules.Reattest <= 0 {
		return errors.New("a service needs a trust domain, a desk, rules, checks, and ears for notes and grounds")
	}
	return nil
}

// verification is one submission on its way, behind its challenge.
type verification struct {
	submission Submission
	taken      challenge.Taken
	job        Job
	standard   *Standard
	policy     *appraisal.Policy
}

// shown reports whether the verdict is about verified evidence. All other evidence names whom it
// likes.
func shown(given attestd.Appraisal) bool {
	return len(given.Claims) != 0 && given.Claims[0] == '{' &&
		given.Freshness != attestd.FreshnessNotShown
}

// maxRounds bounds how often a decision is taken anew because what it rested on had changed. Each
// round loses to a write that was carried out, so that somebody gets on.
const maxRounds = 8

// settle says who the machine is and whose, decides what the verdict changes, and keeps both.
//
// Errors: a [*attestd.CallerError] of class QUARANTINED or REVOKED_SUBJECT for what is held; a
// [*challenge.MovedError] where the evidence must be judged again; those of the store.
func (s *Service) settle(
	ctx context.Context, v verification, given attestd.Appraisal,
) (attestd.Appraisal, error) {
	if instance := subject.Observe(given).Instance.Value; instance != "" {
		release, err := s.turns.take(ctx, instance)
		if err != nil {
			return attestd.Appraisal{}, err
		}
		defer release()
	}
	var moved *subject.MovedError
	for range maxRounds {
		made, err := s.decide(ctx, v, given)
		if err != nil {
			return attestd.Appraisal{}, err
		}
		err = s.carryOut(ctx, v, made)
		switch {
		case errors.As(err, &moved):
			continue
		case err != nil:
			return attestd.Appraisal{}, s.refusedBy(v, err)
		case made.barred != nil:
			return attestd.Appraisal{}, s.refusedBy(v, &subject.BarredError{Bar: *made.barred})
		}
		// Last, after everything else: a hold that came directly is in no store yet.
		if state, key := s.config.Subjects.Held(made.keys...); !free(state) {
			return attestd.Appraisal{}, s.refusedBy(v, &subject.BarredError{
				Bar: subject.Bar{Key: key, State: state},
			})
		}
		if made.blame != "" {
			s.note(v, made.given, made.blame, actionVerify)
		}
		if len(made.grounds) != 0 {
			s.config.Subjects.Grounds(ctx, made.grounds)
		}
		return made.given, nil
	}
	return attestd.Appraisal{}, busy(moved)
}

// free reports whether a state is no hold.
func free(state attestd.State) bool {
	return state == attestd.StateUnknown || state == attestd.StateTrusted || state == attestd.StateSuspect
}

// decision is what one verdict comes to.
type decision struct {
	given   attestd.Appraisal
	write   subject.Write
	barred  *subject.Bar
	grounds []subject.Grounds
	// subject whose latest evidence this is; nil for none.
	subject *subject.Subject
	// keys under which the machine can be held; none where the evidence shows no machine of the caller's.
	keys []subject.Key
	// blame is the class under which it counts against its source; empty for none.
	blame attestd.Class
}

// decide reads what is known of the machine, in one snapshot, and says what follows.
func (s *Service) decide(
	ctx context.Context, v verification, given attestd.Appraisal,
) (decision, error) {
	if !shown(given) {
		return decision{given: given, blame: s.classOf(given)}, nil // Standing stays nil: nobody was asked
	}
	machine := enrol.MachineOf(given, v.submission.Tenant, v.submission.Source)
	seen := subject.Observe(given)
	if seen.Hearsay {
		// Holds of the name still hold it back; nothing is had by it.
		machine.Keys = slices.DeleteFunc(machine.Keys, func(key subject.Key) bool {
			return key.Kind == enrol.KindInstance
		})
	} else if seen.Instance.Value != "" {
		id, err := subject.AgentID(s.config.Subjects.TrustDomain, given.Format, seen.Instance)
		if err != nil {
			return decision{}, fmt.Errorf("subject: %w", err)
		}
		seen.ID = id
	}
	known, err := s.config.Store.Known(ctx, subject.Ask{
		ID: seen.ID, Instance: seen.Instance, Bars: seen.Keys(), Owners: machine.Keys,
	})
	if err != nil {
		return decision{}, storeError(ctx, err)
	}
	if v.submission.KeySPKI != nil {
		seen.Key = sha256.Sum256(v.submission.KeySPKI)
	}
	seen.Tenant, seen.Source = v.submission.Tenant, v.submission.Source
	seen.Asked = v.taken.IssuedAt
	settled := s.config.Subjects.Desk.Settle(machine, known.Owners)
	if settled.Standing == enrol.StandingForeign {
		return s.foreign(v, reacting{given, machine, known, settled, seen}), nil
	}
	return s.react(ctx, v, reacting{given, machine, known, settled, seen})
}

// reacting is what is known of a machine that is no other tenant's.
type reacting struct {
	given   attestd.Appraisal
	machine enrol.Machine
	known   subject.Known
	settled enrol.Settlement
	seen    subject.Observation
}

// foreign rejects a machine that is another tenant's. It comes before the holds: that another tenant's
// machine is held is not this one's to learn. Where it was this tenant's until now, it is not trusted
// as that any more: as one that is nobody's, since it has done nothing that speaks against it.
func (s *Service) foreign(v verification, r reacting) decision {
	made := decision{
		given: appraisal.Foreign(v.policy, r.given), blame: attestd.ClassPolicyDeny,
		write: subject.Write{Owned: r.settled.Expect},
	}
	made.given.Standing = &attestd.Standing{
		Ownership: string(subject.MethodNone), Enrolment: string(enrol.StandingNone), Risk: made.given.Risk,
	}
	if was := r.known.Subject; was == nil || was.Tenant != v.submission.Tenant {
		return made
	}
	given := appraisal.Own(v.policy, r.given, string(subject.MethodNone))
	seen := r.seen
	seen.Verdict, seen.Risk, seen.Owned = given.Verdict, given.Risk, r.settled.Expect
	seen.Detail = subject.Observe(made.given).Detail
	reaction := subject.React(r.known, seen, s.config.Subjects.Rules)
	made.write, made.grounds = reaction.Write, reaction.Grounds
	made.write.Owned, made.write.Unbarred = r.settled.Expect, nil // a hold would be told
	return made
}

func (s *Service) react(ctx context.Context, v verification, r reacting) (decision, error) {
	redeemed, err := s.redeem(ctx, v, &r)
	if err != nil {
		return decision{}, err
	}
	given := appraisal.Own(v.policy, r.given, string(r.settled.Method()))
	seen := r.seen
	seen.Verdict, seen.Risk = given.Verdict, given.Risk
	seen.Detail = subject.Observe(given).Detail
	if r.settled.Owned() {
		seen.Owner = r.settled.Owner
	}
	seen.Owned = r.settled.Expect
	reaction := subject.React(r.known, seen, s.config.Subjects.Rules)
	made := decision{
		write: reaction.Write, barred: reaction.Barred, grounds: reaction.Grounds,
		subject: reaction.Subject, keys: seen.Keys(),
	}
	if reaction.Barred != nil {
		return made, nil
	}
	// The fence, whatever was reacted to: what is held by now gets no verdict, and whose it is is as it
	// was read.
	if len(made.write.Unbarred) == 0 {
		made.write.Unbarred = seen.Keys()
	}
	made.write.Owned = r.settled.Expect
	if !r.settled.Owned() || len(made.write.Subjects) == 0 {
		made.subject = nil
	}
	if redeemed != nil {
		made.write.Token = &redeemed.Use
		made.write.Owners = append(made.write.Owners, redeemed.Owner)
		made.write.Audit = append(made.write.Audit, redeemed.Audit)
	}
	enrolment := r.settled.Enrolment()
	if redeemed == nil && seen.Proven {
		asks, _, err := s.config.Subjects.Desk.Asks(ctx, r.machine, r.settled)
		if err != nil {
			return decision{}, storeError(ctx, err)
		}
		if asks != nil {
			made.write.Owners = append(made.write.Owners, *asks)
			made.write.Audit = append(made.write.Audit, s.record(v, given, actionAsk, asks.Key.String()))
			if r.settled.Standing == enrol.StandingNone {
				enrolment = string(enrol.StandingPending) // with this very verdict
			}
		}
	}
	if len(made.write.Subjects) != 0 {
		made.write.Audit = append(made.write.Audit, s.record(v, given, actionVerify, string(seen.ID)))
	}
	if r.settled.Standing == enrol.StandingDenied {
		// After the reaction: the machine did nothing, somebody said no to it.
		given = appraisal.Denied(v.policy, given)
		made.blame = attestd.ClassPolicyDeny
	}
	standing := reaction.Standing
	standing.Ownership = string(r.settled.Method())
	standing.Enrolment = enrolment
	if standing.Subject == "" {
		standing.Risk = given.Risk // there is nobody whose signals could count
	}
	given.Standing = &standing
	made.given = given
	return made, nil
}

// redeem hands in the token of a machine that is nobody's, where with it the evidence would be
// accepted: rejected evidence uses no token up.
func (s *Service) redeem(
	ctx context.Context, v verification, r *reacting,
) (*enrol.Redemption, error) {
	token := v.submission.EnrolmentToken
	if token == "" || r.settled.Owned() || !r.seen.Proven || len(r.known.Bars) != 0 {
		return nil, nil
	}
	enrolled := appraisal.Own(v.policy, r.given, string(subject.MethodEnrolment))
	if enrolled.Verdict != attestd.VerdictAccepted {
		return nil, nil
	}
	redeemed, err := s.config.Subjects.Desk.Redeem(ctx, r.machine, r.settled, token)
	if err != nil {
		var caller *attestd.CallerError
		if errors.As(err, &caller) {
			s.note(v, r.given, caller.Class, actionEnrol)
		}
		return nil, storeError(ctx, err)
	}
	r.settled = redeemed.Settled
	return redeemed, nil
}

// refusedBy turns a hold into what the caller may know of it: that it is held, and not why.
func (s *Service) refusedBy(v verification, err error) error {
	var barred *subject.BarredError
	if !errors.As(err, &barred) {
		return err
	}
	s.note(v, attestd.Appraisal{}, barred.Class(), actionVerify)
	hint := "ask the operator of this verifier; `attestd why` has the grounds, fresh evidence does not end it"
	return &attestd.CallerError{
		Class: barred.Class(), Hint: hint,
		Err: fmt.Errorf("no verdict: the %s is %s", barred.Bar.Key.Kind, barred.Bar.State),
	}
}

// Actions in the audit log.
const (
	actionVerify = "verify"
	actionEnrol  = "enroll.redeem"
	actionAsk    = "enroll.ask"
)

// record is what the audit log says of a verdict that changes something.
func (s *Service) record(
	v verification, given attestd.Appraisal, action, target string,
) audit.Record {
	record := audit.Record{
		At: s.config.Store.Now(), Actor: "source:" + v.submission.Source, Tenant: v.submission.Tenant,
		Action: action, Target: target, Outcome: "done", Detail: map[string]string{
			"appraisal": given.ID, "verdict": given.Verdict.String(), "tier": given.Tier.String(),
			"policy": given.Policy.ID + " " + given.Policy.Digest,
		},
	}
	if given.Verdict == attestd.VerdictRejected && action == actionVerify {
		record.Outcome, record.Class = "refused", string(s.classOf(given))
	}
	return record
}

// note counts what changed nothing about the machine that the evidence names, against its source.
func (s *Service) note(v verification, given attestd.Appraisal, class attestd.Class, action string) {
	detail := map[string]string{"format": string(v.submission.Format)}
	if len(given.Reasons) != 0 {
		detail["check"] = string(given.Reasons[0].Check)
	}
	s.config.Subjects.Notes.Note(audit.Record{
		At: s.config.Store.Now(), Actor: "source:" + v.submission.Source, Tenant: v.submission.Tenant,
		Action: action, Outcome: "refused", Class: string(class), Detail: detail,
	})
}

// classOf returns the class of what speaks most against a verdict; none where nothing was decided,
// which is no fault of whoever sent it.
func (s *Service) classOf(given attestd.Appraisal) attestd.Class {
	if given.Verdict == attestd.VerdictUndecided || len(given.Reasons) == 0 {
		return ""
	}
	for _, spec := range s.config.Subjects.Specs {
		if spec.ID == given.Reasons[0].Check {
			return spec.Class
		}
	}
	return attestd.ClassMalformed
}
