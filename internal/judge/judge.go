// Package judge takes one piece of evidence all the way: which format it is, whether it is
// authentic, fresh and bound, what it measured, and what that is worth under a policy.
//
// What comes in is a [Request] with the evidence as received, a time and a demand. What is true if
// the error is nil: the answer is a verdict, whichever it is, that names one policy version and every
// check that was made. What is not shown: that a challenge's nonce was outstanding (its store says
// so, see [Judge.Refuse]), or anything about the state of a subject.
package judge

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/all"
)

// MaxEvidence is the largest evidence, in bytes, that any verifier is shown. Each has limits of its
// own below it.
const MaxEvidence = 1 << 20

// Config says what a Judge is built with.
type Config struct {
	// InsecureRoots are roots loaded by hand, for laboratories and tests. The risk of what ends in
	// one is never below 60.
	InsecureRoots []*x509.Certificate
}

// Judge is safe for concurrent use.
type Judge struct {
	verifiers []verifiers.Verifier
	// specs are each verifier's own checks, answers those that its errors can name: of one that
	// composes, the checks of its parts too.
	specs, answers map[attestd.Format][]attestd.CheckSpec
	// credential is MakeCredential of verifiers/tpm.
	credential credentialMaker
	named      named
}

// Request is one piece of evidence and everything that it is judged by.
type Request struct {
	// Format of the evidence; empty to have it detected.
	Format       attestd.Format
	Evidence     []byte
	Endorsements attestd.Endorsements
	// At is the time as of which everything is judged. The zero time is refused.
	At time.Time
	// Demand says what the evidence must be bound to. The zero Demand is refused.
	Demand attestd.Demand
	// ChallengeExpiresAt is when the demand's challenge expires; zero where there is none.
	ChallengeExpiresAt time.Time
	// Anchors are what the caller knows from before about the evidence's keys. The keys that
	// References name are added to them.
	Anchors attestd.Anchors
	// Policy to appraise under. Without one nothing is accepted.
	Policy *appraisal.Policy
	// References may be nil or empty.
	References *measurements.Index
}

// Bug is a fault of ours: a verifier that panicked, or gave an answer that is none. It is never a
// verdict; at every edge it is INTERNAL.
type Bug struct {
	Format attestd.Format
	// What happened, without bytes of the evidence.
	What string
	// Stack of the panic, for the log of whoever runs attestd; empty where there was none.
	Stack []byte
}

// Error names the format and what happened.
func (b *Bug) Error() string { return fmt.Sprintf("fault in the %s verifier: %s", b.Format, b.What) }

// New builds every verifier of the build.
//
// Errors: those of the verifiers, where a root will not do.
func New(config Config) (*Judge, error) {
	list, err := all.New(all.Config{InsecureRoots: config.InsecureRoots})
	if err != nil {
		return nil, err
	}
	return newWith(list), nil
}

func newWith(list []verifiers.Verifier) *Judge {
	judge := &Judge{
		verifiers: list, specs: make(map[attestd.Format][]attestd.CheckSpec, len(list)),
		answers:    make(map[attestd.Format][]attestd.CheckSpec, len(list)),
		credential: makeCredential,
	}
	for _, verifier := range list {
		format := verifier.Format()
		judge.specs[format] = verifier.Checks()
		judge.answers[format] = append(answersOf(verifier), Checks()...)
	}
	return judge
}

// answersOf lists the checks that an answer of the verifier can name.
func answersOf(verifier verifiers.Verifier) []attestd.CheckSpec {
	specs := verifier.Checks()
	composer, composes := verifier.(verifiers.Composer)
	if !composes {
		return specs
	}
	for _, part := range composer.Parts() {
		specs = append(specs, answersOf(part)...)
	}
	return specs
}

// Judge returns the verdict on a request. Evidence that is rejected or cannot be decided is a
// verdict, not an error.
//
// Errors: a [*attestd.CallerError] where the request cannot be asked (size, format, time, demand),
// or a [*Bug].
func (j *Judge) Judge(request Request) (attestd.Appraisal, error) {
	verifier, err := j.choose(request)
	if err != nil {
		return attestd.Appraisal{}, err
	}
	if over := request.ChallengeExpiresAt; !over.IsZero() && request.At.After(over) {
		return j.refuse(request, verifier, CheckChallengeExpired,
			"judged at "+request.At.UTC().Format(time.RFC3339),
			"at the latest "+over.UTC().Format(time.RFC3339))
	}
	claims, err := verify(verifier, attestd.Input{
		Evidence: request.Evidence, Endorsements: request.Endorsements, At: request.At,
		Demand: request.Demand, Anchors: j.anchors(request, verifier),
	})
	if err != nil && !isAnswer(err) {
		return attestd.Appraisal{}, err
	}
	return j.appraise(request, verifier, claims, err), nil
}

// Refuse returns the rejection of a request whose challenge will not do, without looking at what the
// evidence says. Check is [CheckChallengeKnown] or [CheckChallengeExpired]; got and want say what
// was seen and wanted, without the nonce.
//
// Errors: those of [Judge.Judge], and any other check.
func (j *Judge) Refuse(
	request Request, check attestd.CheckID, got, want string,
) (attestd.Appraisal, error) {
	verifier, err := j.choose(request)
	if err != nil {
		return attestd.Appraisal{}, err
	}
	return j.refuse(request, verifier, check, got, want)
}

func (j *Judge) refuse(
	request Request, verifier verifiers.Verifier, check attestd.CheckID, got, want string,
) (attestd.Appraisal, error) {
	spec, ok := checkSpec(check)
	if !ok {
		return attestd.Appraisal{}, &Bug{
			Format: verifier.Format(), What: fmt.Sprintf("%q is no check of challenges", check),
		}
	}
	return j.appraise(request, verifier, nil, &attestd.EvidenceError{
		Check: check, Class: spec.Class, Got: got, Want: want, Spec: spec.Spec, Hint: spec.Hint,
	}), nil
}

func (j *Judge) appraise(
	request Request, verifier verifiers.Verifier, claims *attestd.Claims, err error,
) attestd.Appraisal {
	return appraisal.Appraise(appraisal.Input{
		Format: verifier.Format(), Claims: claims, Err: err, Policy: request.Policy,
		References: request.References, At: request.At,
		EvidenceDigest: sha256.Sum256(request.Evidence), Specs: j.answers[verifier.Format()],
	})
}

// choose looks at everything that must be right before a verifier sees a byte.
func (j *Judge) choose(request Request) (verifiers.Verifier, error) {
	format := request.Format
	if err := sized(request.Evidence); err != nil {
		return nil, err
	}
	if format == "" {
		detected, err := j.Detect(request.Evidence)
		if err != nil {
			return nil, err
		}
		format = detected
	}
	verifier, err := j.verifierFor(format)
	switch {
	case err != nil:
		return nil, err
	case request.Demand.IsZero():
		return nil, &attestd.CallerError{
			Class: attestd.ClassMalformed,
			Hint:  "give a nonce or a challenge; --recorded asks for authenticity alone",
			Err:   errors.New("nothing was demanded of the evidence: no nonce, no challenge"),
		}
	case request.At.IsZero():
		return nil, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "say as of when to judge",
			Err: errors.New("no time was given"),
		}
	case request.At.UTC().Year() < 1 || request.At.UTC().Year() > 9999:
		// RFC 3339 ends there: a verdict as of such a time could be reached and not be written.
		return nil, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "judge as of a time from year 1 to 9999, in UTC",
			Err: fmt.Errorf("the time to judge as of is in year %d, UTC", request.At.UTC().Year()),
		}
	}
	return verifier, nil
}

func sized(evidence []byte) error {
	switch {
	case len(evidence) > MaxEvidence:
		return &attestd.CallerError{
			Class: attestd.ClassTooLarge,
			Hint: "send one piece of evidence, as the device or the vendor's tool gave it; of a TPM less of " +
				"the IMA log (attestd evidence tpm --ima-offset BYTES, or --ima-log off)",
			Err: fmt.Errorf("evidence has %d bytes, want at most %d", len(evidence), MaxEvidence),
		}
	case len(evidence) == 0:
		return &attestd.CallerError{
			Class: attestd.ClassMalformed,
			Hint:  "send one piece of evidence, as the device or the vendor's tool gave it",
			Err:   errors.New("evidence is empty"),
		}
	}
	return nil
}

// Detect returns the format that the envelope of the evidence shows.
//
// Errors: a [*attestd.CallerError] where it shows none, or more than one; a [*Bug].
func (j *Judge) Detect(evidence []byte) (attestd.Format, error) {
	if err := sized(evidence); err != nil {
		return "", err
	}
	var seen []string
	for _, verifier := range j.verifiers {
		found, err := detect(verifier, evidence)
		if err != nil {
			return "", err
		}
		if found {
			seen = append(seen, string(verifier.Format()))
		}
	}
	switch len(seen) {
	case 1:
		return attestd.Format(seen[0]), nil
	case 0:
		return "", j.unsupported("evidence has the envelope of no known format")
	default:
		// Which verifier is asked must never be a guess: the wrong one could read other things.
		return "", j.unsupported("evidence looks like " + strings.Join(seen, " and like "))
	}
}

func (j *Judge) unsupported(what string) error {
	var names []string
	for _, format := range j.Formats() {
		names = append(names, string(format))
	}
	return &attestd.CallerError{
		Class: attestd.ClassUnsupported,
		Hint:  "name the format; this build verifies: " + strings.Join(names, ", "),
		Err:   errors.New(what),
	}
}

func (j *Judge) verifierFor(format attestd.Format) (verifiers.Verifier, error) {
	if _, err := attestd.ParseFormat(string(format)); err != nil {
		return nil, err
	}
	for _, verifier := range j.verifiers {
		if verifier.Format() == format {
			return verifier, nil
		}
	}
	return nil, j.unsupported(fmt.Sprintf("this build has no verifier for format %q", format))
}

// isAnswer reports whether a verifier's error is about the evidence.
func isAnswer(err error) bool {
	var rejected *attestd.EvidenceError
	var undecided *attestd.UndecidedError
	return errors.As(err, &rejected) && rejected != nil || errors.As(err, &undecided) && undecided != nil
}

// verify calls a verifier behind a wall: a panic is a Bug, and so is an error that is no answer.
func verify(verifier verifiers.Verifier, input attestd.Input) (claims *attestd.Claims, err error) {
	defer caught(verifier.Format(), &err)
	claims, err = verifier.Verify(input)
	var caller *attestd.CallerError
	if err != nil && !isAnswer(err) && !errors.As(err, &caller) {
		return nil, &Bug{Format: verifier.Format(), What: attestd.Excerpt(err.Error(), 200)}
	}
	return claims, err
}

func detect(verifier verifiers.Verifier, evidence []byte) (found bool, err error) {
	defer caught(verifier.Format(), &err)
	return verifier.Detect(evidence), nil
}

// caught turns a panic into a Bug. What was panicked with is named by type where it could hold bytes
// of the evidence.
func caught(format attestd.Format, err *error) {
	recovered := recover()
	if recovered == nil {
		return
	}
	what := fmt.Sprintf("panic (%T)", recovered)
	if runtimeError, ok := recovered.(error); ok {
		what = "panic: " + attestd.Excerpt(runtimeError.Error(), 200)
	}
	*err = &Bug{Format: format, What: what, Stack: debug.Stack()}
}

// Inspect decodes evidence without believing it. An empty format is detected.
//
// Errors: those of [Judge.Detect], a [*attestd.EvidenceError] where it cannot be decoded, a [*Bug].
func (j *Judge) Inspect(
	format attestd.Format, evidence []byte,
) (inspection attestd.Inspection, err error) {
	if err := sized(evidence); err != nil {
		return attestd.Inspection{}, err
	}
	if format == "" {
		if format, err = j.Detect(evidence); err != nil {
			return attestd.Inspection{}, err
		}
	}
	verifier, err := j.verifierFor(format)
	if err != nil {
		return attestd.Inspection{}, err
	}
	defer caught(format, &err)
	return verifier.Inspect(evidence)
}

// Formats lists the formats that this build has a verifier for.
func (j *Judge) Formats() []attestd.Format {
	var formats []attestd.Format
	for _, format := range attestd.Formats() {
		if _, ok := j.specs[format]; ok {
			formats = append(formats, format)
		}
	}
	return formats
}

// Specs lists every check that a verdict can contain, each once, in the order in which they run.
func (j *Judge) Specs() []attestd.CheckSpec {
	specs := Checks()
	for _, format := range j.Formats() {
		specs = append(specs, j.specs[format]...)
	}
	for _, shared := range appraisal.Checks() {
		if !slices.ContainsFunc(specs, func(s attestd.CheckSpec) bool { return s.ID == shared.ID }) {
			specs = append(specs, shared)
		}
	}
	return specs
}

// Facts lists the facts of each format's claims.
func (j *Judge) Facts() map[attestd.Format][]attestd.FactSpec {
	facts := make(map[attestd.Format][]attestd.FactSpec, len(j.verifiers))
	for _, verifier := range j.verifiers {
		facts[verifier.Format()] = verifier.Facts()
	}
	return facts
}

// SignaturesVerified counts the public-key signature verifications of all verifiers. One that composes
// makes none but through its parts, which are in the list themselves.
func (j *Judge) SignaturesVerified() uint64 {
	var count uint64
	for _, verifier := range j.verifiers {
		if _, composes := verifier.(verifiers.Composer); composes {
			continue
		}
		count += verifier.SignaturesVerified()
	}
	return count
}
