package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
)

// Purposes of the challenges behind sessions. Who chose a session's nonce is part of what the store
// compares, so that a session cannot be answered as one of the other kind.
const (
	purposeSession = "session"
	purposeChosen  = "session-client-chosen"
)

// sessionFormat stands in the challenge of a session, whose evidence says only when it comes of which
// format it is. It is no format that /v1/verify takes, so no session's challenge is answered there.
const sessionFormat attestd.Format = "any"

// sessionNonce is the length of a session's nonce where the client wishes none. It fits the freshness
// field of every format but SEV-SNP's, which is 64 bytes long and compared whole.
const sessionNonce = 48

// SessionWish asks for a session of a challenge-response protocol in which the nonce itself, and no
// binding, is in the evidence.
type SessionWish struct {
	Tenant string
	// NonceBytes is the length of the nonce, 32 to 64; 0 for 48.
	NonceBytes int
	// Chosen is the client's own nonce, of 32 to 64 bytes; nil to have one made.
	Chosen []byte
	// Source is where it came from, for the limits.
	Source string
}

// Session waits for evidence.
type Session struct {
	// ID is that of the challenge behind it.
	ID    string
	Nonce []byte
	// ExpiresAt is by the store's clock, Lifetime from when it was opened.
	ExpiresAt time.Time
	Lifetime  time.Duration
}

// OpenSession opens a session. There is a challenge of ours behind each, also where the client chose the
// nonce: it is what limits how many there are and makes each good for one answer.
//
// Errors: [*attestd.CallerError], of class MALFORMED for a nonce that is too short or long, all zero, or
// both given and wished for, of class RATE_LIMITED where too many wait; [*attestd.UndecidedError]; the
// error of ctx.
func (s *Service) OpenSession(ctx context.Context, wish SessionWish) (Session, error) {
	if err := s.scope(wish.Tenant, purposeSession, s.config.Formats[0]); err != nil {
		return Session{}, err
	}
	asked := challenge.Wish{
		Format: sessionFormat, Tenant: wish.Tenant, Purpose: purposeSession, NonceBytes: sessionNonce,
		Source: wish.Source,
	}
	switch {
	case wish.Chosen != nil && wish.NonceBytes != 0:
		return Session{}, badNonce(errors.New("a nonce and a length of a nonce, want one of them"))
	case wish.Chosen != nil:
		if err := checkChosen(wish.Chosen); err != nil {
			return Session{}, err
		}
		asked.Purpose = purposeChosen
	case wish.NonceBytes != 0:
		if wish.NonceBytes < attestd.MinNonce || wish.NonceBytes > challenge.MaxNonce {
			return Session{}, badNonce(fmt.Errorf("a nonce of %d bytes is wished for, want %d to %d",
				wish.NonceBytes, attestd.MinNonce, challenge.MaxNonce))
		}
		asked.NonceBytes = wish.NonceBytes
	}
	reply, err := s.config.Issuer.Issue(ctx, asked)
	if err != nil {
		return Session{}, storeError(ctx, err)
	}
	issued := reply.Challenge
	opened := Session{
		ID: issued.ID, Nonce: issued.Nonce, ExpiresAt: issued.ExpiresAt,
		Lifetime: issued.ExpiresAt.Sub(issued.IssuedAt),
	}
	if wish.Chosen != nil {
		opened.Nonce = wish.Chosen
	}
	return opened, nil
}

// checkChosen refuses what shows no freshness to anybody.
func checkChosen(nonce []byte) error {
	if len(nonce) < attestd.MinNonce || len(nonce) > challenge.MaxNonce {
		return badNonce(fmt.Errorf("the nonce has %d bytes, want %d to %d", len(nonce),
			attestd.MinNonce, challenge.MaxNonce))
	}
	_, err := attestd.Fresh(nonce)
	return err
}

func badNonce(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassMalformed, Err: err,
		Hint: "use 32 to 64 random bytes (64 for SEV-SNP): shorter ones can be guessed or come twice",
	}
}

// SessionSubmission is evidence that answers a session.
type SessionSubmission struct {
	ID, Tenant string
	// Chosen is the nonce where the client chose it when it opened the session; nil where we made it.
	Chosen       []byte
	Format       attestd.Format
	Evidence     []byte
	Endorsements attestd.Endorsements
	Source       string
}

func (s SessionSubmission) purpose() string {
	if s.Chosen != nil {
		return purposeChosen
	}
	return purposeSession
}

// VerifySession uses the session up and judges the evidence against its nonce, by the policy for fresh
// evidence. A verdict is stored and has an id. It never leads to a subject, an enrolment or a grant: that
// evidence holds a nonce does not say for which verifier it was made. Where the client chose the nonce,
// the verdict says so in its member Nonce; who has old evidence can choose the nonce that is in it.
//
// Errors: those of [Service.Verify].
func (s *Service) VerifySession(
	ctx context.Context, submission SessionSubmission,
) (attestd.Appraisal, error) {
	if err := s.scope(submission.Tenant, submission.purpose(), submission.Format); err != nil {
		return attestd.Appraisal{}, err
	}
	if submission.Chosen != nil {
		if err := checkChosen(submission.Chosen); err != nil {
			return attestd.Appraisal{}, err
		}
	}
	release, err := s.slots.take(ctx, s.config.Timeout)
	if err != nil {
		return attestd.Appraisal{}, err
	}
	defer release()
	taken, refusal, err := s.config.Issuer.Consume(ctx, challenge.Use{
		ID: submission.ID, Tenant: submission.Tenant, Purpose: submission.purpose(), Format: sessionFormat,
	})
	if err != nil {
		return attestd.Appraisal{}, storeError(ctx, err)
	}
	standard, leave := s.force.enter()
	defer leave()
	document, policy := standard.Of(submission.Tenant)
	v := verification{
		submission: Submission{
			ChallengeID: submission.ID, Tenant: submission.Tenant, Purpose: submission.purpose(),
			Format: submission.Format, Evidence: submission.Evidence, Endorsements: submission.Endorsements,
			Source: submission.Source,
		},
		taken: taken, standard: standard, policy: policy,
		job: Job{
			Format: submission.Format, Evidence: submission.Evidence,
			Endorsements: s.endorsed(submission.Format, submission.Evidence, submission.Endorsements),
			At:           s.config.Store.Now(), Policy: document, References: standard.documents.References,
			Collateral: standard.collateralOf(submission.Format),
		},
	}
	if refusal != nil {
		given, err := s.config.Refuse.Refuse(v.job, refusal.Check, refusal.Got, refusal.Want)
		if err == nil {
			s.note(v, given, refusal.Class, actionVerify)
		}
		return given, err
	}
	v.job.Demand = DemandSpec{Mode: DemandNonce, Nonce: taken.Nonce}
	if submission.Chosen != nil {
		v.job.Demand.Nonce = submission.Chosen
	} else {
		v.job.ChallengeExpiresAt = taken.ExpiresAt
	}
	return s.judgeSession(ctx, v, submission.Chosen != nil)
}

// judgeSession judges, labels and keeps. Nothing that is remembered of a TPM's keys goes into the
// judgement or comes out of it, so that no other verdict can overtake this one.
func (s *Service) judgeSession(
	ctx context.Context, v verification, chosen bool,
) (attestd.Appraisal, error) {
	given, err := s.judge(ctx, v.job)
	if err != nil {
		return attestd.Appraisal{}, err
	}
	s.missed(v.submission.Source, given, v.job.Evidence)
	if chosen {
		given.Nonce = attestd.NonceClientChosen
	}
	if given.ID, err = newID(); err != nil {
		return attestd.Appraisal{}, err
	}
	return s.settle(ctx, v, given)
}

// Formats returns the formats that there is a verifier for.
func (s *Service) Formats() []attestd.Format { return slices.Clone(s.config.Formats) }
