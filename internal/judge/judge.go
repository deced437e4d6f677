// Package judge takes evidence through detection, verification, measurement and appraisal.
package judge

import (
	"crypto/x509"
	"errors"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/measurements"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/all"
)

// MaxEvidence is the largest evidence, in bytes, that any verifier is shown.
const MaxEvidence = 1 << 20

// Config says what a Judge is built with.
type Config struct {
	// InsecureRoots are roots loaded by hand; what ends in one never scores better than 60.
	InsecureRoots []*x509.Certificate
}

// Judge is safe for concurrent use.
type Judge struct {
	verifiers []verifiers.Verifier
}

// Request is one piece of evidence and everything it is to be judged by.
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
	Policy             *appraisal.Policy
	// References may be nil or empty.
	References *measurements.Index
}

// New builds every verifier.
func New(config Config) (*Judge, error) {
	list, err := all.New(all.Config{InsecureRoots: config.InsecureRoots})
	if err != nil {
		return nil, err
	}
	return &Judge{verifiers: list}, nil
}

// Judge returns the verdict on a request. Its errors are a *attestd.CallerError or a bug.
func (j *Judge) Judge(request Request) (attestd.Appraisal, error) {
	return attestd.Appraisal{}, errors.New("not yet")
}

// Refuse returns the rejection of a request whose challenge will not do, without looking at the
// evidence. Check is challenge/known or challenge/expired.
func (j *Judge) Refuse(request Request, check attestd.CheckID, got, want string) (attestd.Appraisal, error) {
	return attestd.Appraisal{}, errors.New("not yet")
}

// Inspect decodes evidence without believing it.
func (j *Judge) Inspect(format attestd.Format, evidence []byte) (attestd.Inspection, error) {
	return attestd.Inspection{}, errors.New("not yet")
}

// Detect returns the format that the envelope of the evidence shows.
func (j *Judge) Detect(evidence []byte) (attestd.Format, error) { return "", errors.New("not yet") }

// Formats lists the formats that this build has a verifier for.
func (j *Judge) Formats() []attestd.Format { return nil }

// Specs lists every check that a verdict can contain.
func (j *Judge) Specs() []attestd.CheckSpec { return nil }

// Facts lists the facts of each format's claims.
func (j *Judge) Facts() map[attestd.Format][]attestd.FactSpec { return nil }

// SignaturesVerified counts the signature verifications of all verifiers.
func (j *Judge) SignaturesVerified() uint64 { return 0 }

// Checks lists the checks that are made around verification: those of challenges.
func Checks() []attestd.CheckSpec { return nil }
