package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/result"
	"github.com/attestd/attestd/internal/subject"
)

// Fence is the index as results need it. Package live has the one there is.
type Fence interface {
	// GrantOn reads a state and counts a grant in one step; see [live.Index.GrantOn].
	GrantOn(id subject.ID, nodes []subject.ID, now time.Time, decide live.Decide) error
	Held(keys ...subject.Key) (attestd.State, subject.Key)
}

// ResultSigner signs statements. Package result has the one there is.
type ResultSigner interface {
	Sign(ctx context.Context, said result.Statement) (token string, err error)
	// Lifetime is the longest that a token lives.
	Lifetime() time.Duration
	JWKS() (document []byte, maxAge time.Duration)
}

// ResultsConfig says what results are made from. Every field is required.
type ResultsConfig struct {
	// Appraisal reads the document of a stored verdict, as [Service.Appraisal].
	Appraisal func(ctx context.Context, id string) (document []byte, found bool, err error)
	Fence     Fence
	Signer    ResultSigner
	// TrustDomain that the names of subjects begin with.
	TrustDomain string
	// MaxAge is how old a verdict can be that a result is given of: as long as a verdict stands.
	MaxAge time.Duration
	Now    func() time.Time
	Notes  Notes
}

// Results gives signed results of verdicts. It is safe for concurrent use.
//
// A result is a grant: it is counted against its subject, with its end, in the same step in which the
// subject's state is read. So after a quarantine was acknowledged there is no result for the subject,
// and those before it are among the grants that the acknowledgement counts.
type Results struct{ config ResultsConfig }

// NewResults returns what gives results.
//
// Errors: where a field is missing.
func NewResults(config ResultsConfig) (*Results, error) {
	if config.Appraisal == nil || config.Fence == nil || config.Signer == nil || config.Now == nil ||
		config.Notes == nil || config.MaxAge <= 0 || config.TrustDomain == "" {
		return nil, errors.New(
			"results need verdicts, a fence, a signer, a clock, ears for notes, a trust domain and a greatest age")
	}
	return &Results{config: config}, nil
}

// ResultOptions is what whoever asks can wish. The zero ResultOptions wish nothing.
type ResultOptions struct {
	// Profile by name; empty for the configured one.
	Profile string
	// Nonce that the result shows; empty for none. NonceBy is [result.NonceByVerifier] where it is the
	// challenge's that the evidence answered, and [result.NonceByClient] where the client chose it.
	Nonce   []byte
	NonceBy string
	// KeySPKI is the key that the evidence was just now verified to bind, in DER; empty for none. It must
	// come from the same verification as the appraisal.
	KeySPKI []byte
	// Audience that the result is for; empty for whoever trusts attestd.
	Audience string
	// Source is where the question came from, for the audit log.
	Source string
}

// JWKS returns the keys that results are verified with, and for how long they may be kept.
func (r *Results) JWKS() (document []byte, maxAge time.Duration) { return r.config.Signer.JWKS() }

// Sign returns the result of a stored verdict. An id that is not there is an error.
//
// Errors: a [*attestd.CallerError] of class MALFORMED where there is no such verdict, and those of
// [Results.SignGiven].
func (r *Results) Sign(ctx context.Context, appraisalID string, options ResultOptions) (string, error) {
	document, found, err := r.config.Appraisal(ctx, appraisalID)
	if err != nil {
		return "", err
	}
	if !found {
		return "", ErrNoAppraisal
	}
	var given attestd.Appraisal
	if err := json.Unmarshal(document, &given); err != nil {
		return "", fmt.Errorf("stored appraisal: %s", attestd.Excerpt(err.Error(), 160))
	}
	if given.ID != appraisalID {
		return "", errors.New("stored appraisal: it is another one's")
	}
	options.KeySPKI = nil // nothing that a caller says about an earlier verification
	return r.SignGiven(ctx, given, options)
}

// ErrNoAppraisal says that there is no verdict with the id, or none any more.
var ErrNoAppraisal error = &attestd.CallerError{
	Class: attestd.ClassMalformed, Hint: "verdicts are kept for a while only; attest again",
	Err: errors.New("there is no appraisal with this id"),
}

// SignGiven returns the result of a verdict that [Service.Verify] has returned just now.
//
// Errors: a [*attestd.CallerError] of class QUARANTINED or REVOKED_SUBJECT where the subject, or
// hardware that the verdict names, is held; of class STALE where the verdict is too old; of class
// MALFORMED or UNSUPPORTED for options that will not do; an [*attestd.UndecidedError] where the index or
// the signer does not answer. There is no result then, and no part of one; a grant that was counted
// for it ends by itself.
func (r *Results) SignGiven(
	ctx context.Context, given attestd.Appraisal, options ResultOptions,
) (string, error) {
	now := r.config.Now()
	said := result.Statement{
		Appraisal: given, Profile: result.Profile(options.Profile), Nonce: options.Nonce,
		NonceBy: options.NonceBy, KeySPKI: options.KeySPKI, Audience: options.Audience,
	}
	if age := now.Sub(given.At); age > r.config.MaxAge || age < -maxClockBehind {
		return "", r.refuse(given, options, &attestd.CallerError{
			Class: attestd.ClassStale, Hint: "give fresh evidence",
			Err: fmt.Errorf("the verdict is of %s, want one of the last %s",
				given.At.UTC().Format(time.RFC3339), r.config.MaxAge),
		})
	}
	said.Until = given.At.Add(r.config.MaxAge)
	if err := r.grant(&said, now); err != nil {
		return "", r.refuse(given, options, err)
	}
	token, err := r.config.Signer.Sign(ctx, said)
	if err != nil {
		return "", err
	}
	// A signer can be slow. What was held meanwhile gets nothing, though the hold has counted it.
	if err := r.free(given); err != nil {
		return "", r.refuse(given, options, err)
	}
	r.note(given, options, "done", "")
	return token, nil
}

// grant asks the index, and has the result counted. It notes in the statement how the subject stands.
func (r *Results) grant(said *result.Statement, now time.Time) error {
	if err := r.free(said.Appraisal); err != nil {
		return err
	}
	standing := said.Appraisal.Standing
	if standing == nil || standing.Subject == "" {
		return r.grantUnnamed(said, now)
	}
	return r.config.Fence.GrantOn(subject.ID(standing.Subject), nil, now, func(
		own live.Standing, _ []live.Standing,
	) (int, error) {
		if subject.Barred(own.State) {
			return 0, barred(own.State, string(own.Barred))
		}
		if !own.Known || own.Tenant != standing.Tenant {
			// Another's by now, or forgotten: nothing is said about the one that it was.
			return 0, &attestd.CallerError{
				Class: attestd.ClassPolicyDeny, Hint: "give fresh evidence",
				Err: errors.New("no result: the machine is not the tenant's any more"),
			}
		}
		copied := *standing
		copied.State, copied.Risk, copied.Epoch, copied.DueAt = own.State, own.Risk, own.Epoch, own.DueAt
		said.Appraisal.Standing, said.State = &copied, own.State
		ends := now.Add(r.config.Signer.Lifetime())
		if own.State == attestd.StateTrusted && own.DueAt.Before(said.Until) {
			said.Until = own.DueAt
		}
		if said.Until.Before(ends) {
			ends = said.Until
		}
		return secondsUntil(ends, now), nil
	})
}

// grantUnnamed counts the result of an accepted verdict that names no subject, as that of a session,
// against the machine all the same: the acknowledgement of a quarantine has it among what is in force.
// What is known against the machine lowers what the result says, and nothing known raises it.
func (r *Results) grantUnnamed(said *result.Statement, now time.Time) error {
	id := r.unnamed(said.Appraisal)
	if id == "" {
		return nil // it affirms nothing, or there is no machine that it could be counted against
	}
	return r.config.Fence.GrantOn(id, nil, now, func(own live.Standing, _ []live.Standing) (int, error) {
		if subject.Barred(own.State) {
			return 0, barred(own.State, string(own.Barred))
		}
		if own.State == attestd.StateSuspect {
			said.State = own.State
		}
		if own.Known && own.Risk.Int() > said.Appraisal.Risk.Int() {
			said.Appraisal.Risk = own.Risk
		}
		ends := now.Add(r.config.Signer.Lifetime())
		if said.Until.Before(ends) {
			ends = said.Until
		}
		return secondsUntil(ends, now), nil
	})
}

// unnamed is the subject that the machine of an accepted verdict is or would be; empty for none.
func (r *Results) unnamed(given attestd.Appraisal) subject.ID {
	if given.Verdict != attestd.VerdictAccepted {
		return ""
	}
	// The error says that there is no instance.
	id, _ := subject.AgentID(r.config.TrustDomain, given.Format, subject.Observe(given).Instance)
	return id
}

// secondsUntil is how long a grant is counted: whole seconds, and never none.
func secondsUntil(ends, now time.Time) int {
	return max(1, int((ends.Sub(now)+time.Second-1)/time.Second))
}

// free refuses what is held by now under anything that the verdict names. A verdict that accepts
// nothing and names no subject can be of another tenant's machine: whether that is held is not the
// asker's to learn.
func (r *Results) free(given attestd.Appraisal) error {
	seen := subject.Observe(given)
	if given.Standing != nil {
		seen.ID = subject.ID(given.Standing.Subject)
	}
	if seen.ID == "" {
		seen.ID = r.unnamed(given)
	}
	if seen.ID == "" && given.Verdict != attestd.VerdictAccepted {
		return nil
	}
	if state, key := r.config.Fence.Held(seen.Keys()...); !free(state) {
		return barred(state, key.Kind)
	}
	return nil
}

func barred(state attestd.State, kind string) error {
	class := attestd.ClassQuarantined
	if state == attestd.StateRevoked {
		class = attestd.ClassRevokedSubject
	}
	if kind == "" {
		kind = string(subject.BarSubject)
	}
	return &attestd.CallerError{
		Class: class, Hint: "ask the operator of this verifier; `attestd why` has the grounds",
		Err: fmt.Errorf("no result: the %s is %s", kind, state),
	}
}

// refuse notes what was refused for the machine's sake, and passes it on.
func (r *Results) refuse(given attestd.Appraisal, options ResultOptions, err error) error {
	var caller *attestd.CallerError
	if errors.As(err, &caller) {
		r.note(given, options, "refused", caller.Class)
	}
	return err
}

// actionResult is a result's in the audit log. The ledger of the key has each one by itself.
const actionResult = "result"

func (r *Results) note(
	given attestd.Appraisal, options ResultOptions, outcome string, class attestd.Class,
) {
	record := audit.Record{
		At: r.config.Now(), Actor: "source:" + options.Source, Tenant: subject.Shared,
		Action: actionResult, Outcome: outcome, Class: string(class),
		Detail: map[string]string{"format": string(given.Format), "verdict": given.Verdict.String()},
	}
	if standing := given.Standing; standing != nil {
		record.Target = standing.Subject
		if standing.Tenant != "" {
			record.Tenant = standing.Tenant
		}
	}
	r.config.Notes.Note(record)
}
