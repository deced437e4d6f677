package service

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/subject"
)

// Store is what the service keeps things in. Package registry has the one there is.
type Store interface {
	challenge.Store
	// Known reads what there is about a machine in one snapshot; Keep stores a verdict and carries out
	// what follows from it, both or neither; Write does the latter alone.
	Known(ctx context.Context, ask subject.Ask) (subject.Known, error)
	Keep(ctx context.Context, verdict registry.Verdict) error
	Write(ctx context.Context, write subject.Write) error
	Appraisal(ctx context.Context, id string) (document []byte, found bool, err error)
	Room(ctx context.Context, tenant, source string) error
	KnowsKey(ctx context.Context, tenant string, akName []byte, ek [sha256.Size]byte) (bool, error)
	Pulse(ctx context.Context) error
	ClockBehind() time.Duration
}

// Refuser writes the verdict on evidence whose challenge will not do. It does not look at the
// evidence.
type Refuser interface {
	Refuse(job Job, check attestd.CheckID, got, want string) (attestd.Appraisal, error)
}

// Config says what a Service is made of. Fields without another word are required.
type Config struct {
	Store  Store
	Issuer *challenge.Issuer
	Judge  Judge
	Refuse Refuser
	// Policy judges evidence that answers a challenge, RecordedPolicy evidence that does not;
	// TenantPolicies are in place of Policy for the tenants that they are named by. All of them and
	// References, of which none is allowed, are what [Service.Replace] replaces.
	Policy, RecordedPolicy Document
	TenantPolicies         map[string]Document
	References             []Document
	// Collateral is what is kept for each format; it is among what [Service.Replace] replaces.
	Collateral map[attestd.Format]Document
	// Machines has what is kept of single machines; nil where nothing is.
	Machines Machines
	// Formats are those that there is a verifier for.
	Formats []attestd.Format
	// Subjects says what is made of verdicts.
	Subjects Subjects
	// Tenants are the names of tenants there are. What callers make up is refused, so that nothing
	// that is kept or counted per tenant grows with their fantasy.
	Tenants []string
	// Timeout bounds one judgement, and the wait for a place.
	Timeout time.Duration
	// Concurrency is the most verifications under way, from the challenge's end to the verdict's
	// place on disk, and Waiting the most callers that wait for one to end.
	Concurrency, Waiting int
	// AllowRecorded allows VerifyRecorded.
	AllowRecorded bool
}

// Service is safe for concurrent use.
type Service struct {
	config Config
	slots  slots
	force  force
	turns  turns
}

// New returns a service.
//
// Errors: where a field that is required is missing, or a document will not do.
func New(config Config) (*Service, error) {
	switch {
	case config.Store == nil, config.Issuer == nil, config.Judge == nil, config.Refuse == nil:
		return nil, errors.New("a service needs a store, an issuer, a judge and a refuser")
	case len(config.Policy.Bytes) == 0, len(config.RecordedPolicy.Bytes) == 0:
		return nil, errors.New("a service needs its policies")
	case len(config.Tenants) == 0, len(config.Formats) == 0:
		return nil, errors.New("a service needs a tenant and a format")
	case config.Timeout <= 0, config.Concurrency <= 0, config.Waiting < 0:
		return nil, errors.New("a service needs a timeout and room for a judgement")
	}
	if err := config.Subjects.check(); err != nil {
		return nil, err
	}
	made := &Service{config: config, slots: newSlots(config.Concurrency, config.Waiting)}
	read, err := Documents{
		Policy: config.Policy, Recorded: config.RecordedPolicy, Tenants: config.TenantPolicies,
		References: config.References, Collateral: config.Collateral,
	}.Read(config.Tenants)
	if err != nil {
		return nil, err
	}
	made.force.current = newInForce(read)
	return made, nil
}

// purposes are short names, so that they can be stored, signed and shown without a second thought.
var purposePattern = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$`)

// scope checks tenant, purpose and format, which come from the caller.
func (s *Service) scope(tenant, purpose string, format attestd.Format) error {
	if !slices.Contains(s.config.Formats, format) {
		return &attestd.CallerError{
			Class: attestd.ClassUnsupported,
			Hint:  fmt.Sprintf("formats of this build: %v", s.config.Formats),
			Err:   fmt.Errorf("no verifier for format %q", attestd.Excerpt(string(format), 40)),
		}
	}
	if !slices.Contains(s.config.Tenants, tenant) {
		return &attestd.CallerError{
			Class: attestd.ClassForbidden,
			Hint:  "name a tenant of this verifier's configuration, or none for \"default\"",
			Err:   fmt.Errorf("tenant %q is not known here", attestd.Excerpt(tenant, 40)),
		}
	}
	if !purposePattern.MatchString(purpose) {
		return &attestd.CallerError{
			Class: attestd.ClassMalformed,
			Hint:  "use 1 to 64 of a-z, 0-9 and -, as in \"verify\"",
			Err:   fmt.Errorf("purpose %q is not a name", attestd.Excerpt(purpose, 40)),
		}
	}
	return nil
}

// Submission is evidence that answers a challenge.
type Submission struct {
	ChallengeID     string
	Tenant, Purpose string
	// Format of the evidence: it must be the challenge's.
	Format       attestd.Format
	Evidence     []byte
	Endorsements attestd.Endorsements
	// Freshness says how the evidence holds the challenge: FreshnessBinding or FreshnessNonce.
	Freshness attestd.Freshness
	// KeySPKI is the DER SubjectPublicKeyInfo of the key that the evidence binds; empty for none.
	KeySPKI []byte
	// ActivationSecret is the answer to the challenge's credential; empty for none.
	ActivationSecret []byte
	// EnrolmentToken makes the machine ours where nobody has it yet; empty for none.
	EnrolmentToken string
	// Source is where it came from, for the limits and the audit log.
	Source string
}

// demand says what the evidence must hold to answer the challenge.
func (s Submission) demand(answered attestd.Challenge) (DemandSpec, error) {
	switch s.Freshness {
	case attestd.FreshnessBinding:
		return DemandSpec{Mode: DemandBinding, Binding: answered.Binding(s.KeySPKI)}, nil
	case attestd.FreshnessNonce:
		return DemandSpec{Mode: DemandNonce, Nonce: answered.Nonce, KeySPKI: s.KeySPKI}, nil
	default:
		return DemandSpec{}, fmt.Errorf("no demand shows freshness %q", s.Freshness)
	}
}

// Verify consumes the challenge and judges the evidence, in that order: the challenge is used up
// durably before the first byte of evidence is looked at, whatever comes of it. That is stricter
// than one transaction around both: a replay costs no verification, and no failure, timeout or
// cancelled request in between gives a nonce back. A verdict on evidence is stored and has an id; a
// rejection by challenge/known is not stored, so that nobody fills the disk without a challenge.
//
// Errors: [*attestd.CallerError] or [*attestd.UndecidedError] where there is no verdict, the error
// of ctx, or a bug.
func (s *Service) Verify(ctx context.Context, submission Submission) (attestd.Appraisal, error) {
	if err := s.scope(submission.Tenant, submission.Purpose, submission.Format); err != nil {
		return attestd.Appraisal{}, err
	}
	if err := submission.checkSecret(); err != nil {
		return attestd.Appraisal{}, err
	}
	// A place is taken before the challenge is used up, so that a busy verifier costs no nonce.
	release, err := s.slots.take(ctx, s.config.Timeout)
	if err != nil {
		return attestd.Appraisal{}, err
	}
	defer release()
	taken, refusal, err := s.config.Issuer.Consume(ctx, challenge.Use{
		ID: submission.ChallengeID, Tenant: submission.Tenant, Purpose: submission.Purpose,
		Format: submission.Format,
	})
	if err != nil {
		return attestd.Appraisal{}, storeError(ctx, err)
	}
	standard, leave := s.force.enter()
	defer leave()
	document, policy := standard.Of(submission.Tenant)
	job := Job{
		Format: submission.Format, Evidence: submission.Evidence,
		Endorsements: s.endorsed(submission.Format, submission.Evidence, submission.Endorsements),
		At:           s.config.Store.Now(), Policy: document, References: standard.documents.References,
		Collateral: standard.collateralOf(submission.Format),
	}
	v := verification{submission: submission, taken: taken, standard: standard, policy: policy}
	if refusal != nil {
		given, err := s.config.Refuse.Refuse(job, refusal.Check, refusal.Got, refusal.Want)
		if err == nil {
			s.note(v, given, refusal.Class, actionVerify)
		}
		return given, err
	}
	job.ChallengeExpiresAt = taken.ExpiresAt
	if job.Demand, err = submission.demand(taken.Challenge); err != nil {
		return attestd.Appraisal{}, err
	}
	if job.Activation, err = submission.activation(taken); err != nil {
		return attestd.Appraisal{}, err
	}
	if taken.Key != nil {
		job.LastSeen = &taken.Key.State
	}
	v.job = job
	return s.judgeAndKeep(ctx, v)
}

// judgeAndKeep judges again, once, where another verdict moved the state of the attestation key past
// this one's while it was reached: with the newer state the answer may be another.
func (s *Service) judgeAndKeep(ctx context.Context, v verification) (attestd.Appraisal, error) {
	var moved *challenge.MovedError
	for range 2 {
		given, err := s.judge(ctx, v.job)
		if err != nil {
			return attestd.Appraisal{}, err
		}
		s.missed(v.submission.Source, given, v.job.Evidence)
		if given.ID, err = newID(); err != nil {
			return attestd.Appraisal{}, err
		}
		given, err = s.settle(ctx, v, given)
		if !errors.As(err, &moved) {
			return given, err
		}
		v.job.LastSeen = &moved.State
	}
	return attestd.Appraisal{}, busy(moved)
}

// Recording is evidence from an archive.
type Recording struct {
	// Format of the evidence; empty to have it detected.
	Format       attestd.Format
	Evidence     []byte
	Endorsements attestd.Endorsements
	// At is the time to judge as of; zero for now.
	At time.Time
	// Nonce and KeySPKI must be in the evidence where they are given. Freshness is not shown by
	// them.
	Nonce, KeySPKI []byte
}

// VerifyRecorded judges evidence without freshness. Nothing is stored, no id is given and nothing is
// signed: what it returns must not be mistaken for an attestation result.
//
// Errors: as for Verify; a [*attestd.CallerError] of class FORBIDDEN where it is not allowed.
func (s *Service) VerifyRecorded(ctx context.Context, recording Recording) (attestd.Appraisal, error) {
	if !s.config.AllowRecorded {
		return attestd.Appraisal{}, &attestd.CallerError{
			Class: attestd.ClassForbidden,
			Hint:  "set verify.allow_recorded: true, or answer a challenge at /v1/verify",
			Err:   errors.New("judging recorded evidence is off"),
		}
	}
	release, err := s.slots.take(ctx, s.config.Timeout)
	if err != nil {
		return attestd.Appraisal{}, err
	}
	defer release()
	at := recording.At
	if at.IsZero() {
		at = s.config.Store.Now()
	}
	standard := s.force.load()
	return s.judge(ctx, Job{
		Format: recording.Format, Evidence: recording.Evidence,
		Endorsements: s.endorsed(recording.Format, recording.Evidence, recording.Endorsements),
		At:           at, Demand: DemandSpec{Mode: DemandRecorded, Nonce: recording.Nonce, KeySPKI: recording.KeySPKI},
		Policy: standard.documents.Recorded, References: standard.documents.References,
		Collateral: standard.collateralOf(recording.Format),
	})
}

// judge asks the Judge within the time there is.
func (s *Service) judge(ctx context.Context, job Job) (attestd.Appraisal, error) {
	return within(ctx, s.config.Timeout, func(ctx context.Context) (attestd.Appraisal, error) {
		return s.config.Judge.Judge(ctx, job)
	})
}

// within asks a Judge for at most the time given.
func within[T any](
	ctx context.Context, most time.Duration, ask func(context.Context) (T, error),
) (T, error) {
	limited, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	given, err := ask(limited)
	var nothing T
	switch {
	case ctx.Err() != nil:
		return nothing, ctx.Err() // nobody waits for it: nothing is stored
	case err == nil:
		return given, nil
	case limited.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		return nothing, busy(errors.New("no verdict in time"))
	default:
		return nothing, err
	}
}

// Appraisal returns the stored document of the appraisal with that id, and whether there is one. An
// id that is not one of ours looks like one that is not there.
func (s *Service) Appraisal(ctx context.Context, id string) (document []byte, found bool, err error) {
	parsed, err := uuid.Parse(id)
	if err != nil || parsed.String() != id {
		return nil, false, nil //nolint:nilerr // not an id, so not there
	}
	document, found, err = s.config.Store.Appraisal(ctx, id)
	return document, found, storeError(ctx, err)
}

// maxClockBehind is by how much the wall clock may have gone back before the service says that it is
// not ready. Verdicts stay safe (the store's clock does not go back), but are made for a time that
// may not be.
const maxClockBehind = 5 * time.Second

// Ready returns nil where the store takes writes, the clock is sound and the judge answers. Its
// question to the judge is evidence that must be rejected.
func (s *Service) Ready(ctx context.Context) error {
	if err := s.config.Store.Pulse(ctx); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if behind := s.config.Store.ClockBehind(); behind > maxClockBehind {
		return fmt.Errorf("the wall clock went back by %s", behind.Round(time.Second))
	}
	current := s.force.load()
	return s.selfTest(ctx, current.documents.Policy, current.documents.References)
}

// storeError says for callers that the store failed; it passes on what is an answer already.
func storeError(ctx context.Context, err error) error {
	var caller *attestd.CallerError
	var undecided *attestd.UndecidedError
	var moved *challenge.MovedError
	var changed *subject.MovedError
	var barred *subject.BarredError
	switch {
	case err == nil, errors.As(err, &caller), errors.As(err, &undecided), errors.As(err, &moved),
		errors.As(err, &changed), errors.As(err, &barred):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return &attestd.UndecidedError{
		Check: challenge.CheckKnown, Class: attestd.ClassStoreUnavailable,
		Got: "the store did not answer", Want: "a store that can be read and written",
		Spec: "attestd: docs/api.md, errors", Hint: "try again; if it lasts, look at /readyz and the log",
		Err: err,
	}
}
