package service

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
)

// Store is what the service keeps things in. Package registry has the one there is.
type Store interface {
	challenge.Store
	InsertAppraisal(ctx context.Context, row challenge.Answered) error
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
	// Formats are those that there is a verifier for.
	Formats []attestd.Format
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
	config   Config
	slots    slots
	standard atomic.Pointer[standard]
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
	made := &Service{config: config, slots: newSlots(config.Concurrency, config.Waiting)}
	read, err := readStandard(Documents{
		Policy: config.Policy, Recorded: config.RecordedPolicy, Tenants: config.TenantPolicies,
		References: config.References,
	}, config.Tenants)
	if err != nil {
		return nil, err
	}
	made.standard.Store(read)
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
	standard := s.standard.Load()
	document, _ := standard.of(submission.Tenant)
	job := Job{
		Format: submission.Format, Evidence: submission.Evidence, Endorsements: submission.Endorsements,
		At: s.config.Store.Now(), Policy: document, References: standard.documents.References,
	}
	if refusal != nil {
		return s.config.Refuse.Refuse(job, refusal.Check, refusal.Got, refusal.Want)
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
	return s.judgeAndKeep(ctx, taken, job)
}

// judgeAndKeep judges again, once, where another verdict moved the state of the attestation key past
// this one's while it was reached: with the newer state the answer may be another.
func (s *Service) judgeAndKeep(
	ctx context.Context, taken challenge.Taken, job Job,
) (attestd.Appraisal, error) {
	var moved *challenge.MovedError
	for range 2 {
		given, err := s.judge(ctx, job)
		if err != nil {
			return attestd.Appraisal{}, err
		}
		given, err = s.keep(ctx, taken, job, given)
		if !errors.As(err, &moved) {
			return given, err
		}
		job.LastSeen = &moved.State
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
	standard := s.standard.Load()
	return s.judge(ctx, Job{
		Format: recording.Format, Evidence: recording.Evidence, Endorsements: recording.Endorsements,
		At: at, Demand: DemandSpec{Mode: DemandRecorded, Nonce: recording.Nonce, KeySPKI: recording.KeySPKI},
		Policy: standard.documents.Recorded, References: standard.documents.References,
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

// keep gives the verdict its id and stores it. A verdict that cannot be stored is not given: nobody
// could look it up, and later steps rely on what is stored.
func (s *Service) keep(
	ctx context.Context, taken challenge.Taken, job Job, given attestd.Appraisal,
) (attestd.Appraisal, error) {
	seen, err := seenBy(taken, job, given)
	if err != nil {
		return attestd.Appraisal{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return attestd.Appraisal{}, fmt.Errorf("appraisal id: %w", err)
	}
	given.ID = id.String()
	document, err := json.Marshal(given)
	if err != nil {
		return attestd.Appraisal{}, fmt.Errorf("appraisal: %w", err)
	}
	err = s.config.Store.InsertAppraisal(ctx, challenge.Answered{
		ID: given.ID, ChallengeID: taken.ID, Tenant: taken.Tenant, Document: document, Seen: seen,
	})
	if err != nil {
		return attestd.Appraisal{}, storeError(ctx, err)
	}
	return given, nil
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
	current := s.standard.Load()
	return s.selfTest(ctx, current.documents.Policy, current.documents.References)
}

// storeError says for callers that the store failed; it passes on what is an answer already.
func storeError(ctx context.Context, err error) error {
	var caller *attestd.CallerError
	var moved *challenge.MovedError
	switch {
	case err == nil, errors.As(err, &caller), errors.As(err, &moved):
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
