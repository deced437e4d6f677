// Package verifiers says what a verifier is. Each folder below it that carries a format's name holds
// one; package all lists them.
//
// A verifier answers one question: is this evidence authentic, fresh and bound, as of a given time?
// It is pure: no network, wall clock, logger, flag, environment or global state, and no policy. What
// comes in is an attestd.Input; if it returns Claims, then every StageVerify check of its table
// passed or does not apply. What is not shown is whether the claims are good enough: appraisal
// decides that.
package verifiers

import "github.com/attestd/attestd"

// Verifier verifies one format. Implementations are safe for concurrent use, never write to their
// input and return nothing that aliases it.
type Verifier interface {
	// Format returns the format that the verifier is for.
	Format() attestd.Format
	// Detect reports whether evidence looks like the format, from its envelope alone. It is cheap
	// and decides nothing but which verifier is asked.
	Detect(evidence []byte) bool
	// Verify returns Claims, or exactly one of *attestd.EvidenceError (rejected),
	// *attestd.UndecidedError (something is missing) and *attestd.CallerError (cannot be asked).
	Verify(input attestd.Input) (*attestd.Claims, error)
	// Inspect decodes evidence without believing it. Its errors are those of Verify's parsing.
	Inspect(evidence []byte) (attestd.Inspection, error)
	// Checks lists every check the verifier makes (StageVerify) or prepares (StageAppraise), in
	// the order in which they run.
	Checks() []attestd.CheckSpec
	// Facts lists every fact that its Claims can have.
	Facts() []attestd.FactSpec
	// SignaturesVerified counts the public-key signature verifications made since the verifier was
	// built, those inside certificate chains included. Tests and benchmarks gate on it.
	SignaturesVerified() uint64
}

// Composer is a verifier whose evidence is composed of that of several devices. Its Claims have
// Devices, and its answers name checks of its parts beside its own, with the device's path.
type Composer interface {
	Verifier
	// Parts are the verifiers that it shows the devices' evidence to.
	Parts() []Verifier
}
