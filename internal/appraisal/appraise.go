// Package appraisal decides what verified claims are worth under a policy.
package appraisal

import (
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
)

// Input is everything an appraisal depends on. The same Input gives the same Appraisal.
type Input struct {
	Format attestd.Format
	// Claims and Err are what the verifier returned.
	Claims *attestd.Claims
	Err    error
	// Policy to appraise under; without one the evidence is rejected.
	Policy *Policy
	// References may be empty.
	References *measurements.Index
	// At is the time as of which the evidence was judged.
	At             time.Time
	EvidenceDigest [32]byte
	// Specs are the checks of the format's verifier.
	Specs []attestd.CheckSpec
}

// Appraise returns the verdict. It never fails: what cannot be judged is rejected or undecided.
func Appraise(input Input) attestd.Appraisal { return attestd.Appraisal{} }

// Checks lists the checks that are made here for every format.
func Checks() []attestd.CheckSpec { return nil }
