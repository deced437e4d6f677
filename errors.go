package attestd

import (
	"strings"
)

// Class is the kind of an error or of a failed check. The set is closed; the empty Class is a bug
// and is treated as INTERNAL.
type Class string

// The classes there are. Classes marked (rejects) are answers about evidence; (undecided) ones say
// that no answer could be found; (caller) ones are the caller's to mend.
const (
	ClassMalformed             Class = "MALFORMED"              // rejects: not encoded as the format demands
	ClassTooLarge              Class = "TOO_LARGE"              // rejects: over a limit
	ClassUnsupported           Class = "UNSUPPORTED"            // rejects: version, product or algorithm not known here
	ClassSignature             Class = "SIGNATURE"              // rejects: a signature over evidence is bad
	ClassChain                 Class = "CHAIN"                  // rejects: no path to a pinned root
	ClassCertTime              Class = "CERT_TIME"              // rejects: a certificate is not valid at the time
	ClassRevokedCert           Class = "REVOKED_CERT"           // rejects: a certificate was revoked
	ClassCollateralInvalid     Class = "COLLATERAL_INVALID"     // rejects: a CRL or TCB info is not the vendor's
	ClassBinding               Class = "BINDING"                // rejects: nonce, key or report data differ
	ClassReplay                Class = "REPLAY"                 // rejects: nonce was used before
	ClassStale                 Class = "STALE"                  // rejects: too old, or from the future
	ClassMeasurement           Class = "MEASUREMENT"            // rejects: what runs is not what was expected
	ClassDebug                 Class = "DEBUG"                  // rejects: the guest can be read from outside
	ClassTCB                   Class = "TCB"                    // rejects: firmware below the floor
	ClassPlatform              Class = "PLATFORM"               // rejects: host or guest configured otherwise
	ClassKeyProperties         Class = "KEY_PROPERTIES"         // rejects: a key is not of the kind it must be
	ClassQuarantined           Class = "QUARANTINED"            // bars the subject
	ClassRevokedSubject        Class = "REVOKED_SUBJECT"        // bars the subject
	ClassPolicyDeny            Class = "POLICY_DENY"            // bars the subject
	ClassCollateralStale       Class = "COLLATERAL_STALE"       // undecided
	ClassCollateralUnavailable Class = "COLLATERAL_UNAVAILABLE" // undecided
	ClassPolicyUnavailable     Class = "POLICY_UNAVAILABLE"     // undecided
	ClassStoreUnavailable      Class = "STORE_UNAVAILABLE"      // undecided
	ClassRateLimited           Class = "RATE_LIMITED"           // undecided, try later
	ClassUnauthenticated       Class = "UNAUTHENTICATED"        // caller
	ClassForbidden             Class = "FORBIDDEN"              // caller
	ClassConflict              Class = "CONFLICT"               // caller
	ClassConfig                Class = "CONFIG"                 // refuses to start
	ClassInternal              Class = "INTERNAL"               // bug
)

// Undecided reports whether the class means that no answer could be found.
func (c Class) Undecided() bool {
	switch c {
	case ClassCollateralStale, ClassCollateralUnavailable, ClassPolicyUnavailable,
		ClassStoreUnavailable, ClassRateLimited:
		return true
	default:
		return false
	}
}

// EvidenceError says that evidence was rejected, by which check, and why. It is an answer, not a
// failure of the verifier.
type EvidenceError struct {
	// Check that failed.
	Check CheckID
	Class Class
	// Got and Want, as in [Check].
	Got, Want string
	// Spec names document, revision and section; Hint says what to do.
	Spec, Hint string
	// Checks are all checks that ran, the failed one last.
	Checks []Check
	// Err is the cause underneath, where there is one.
	Err error
}

// Error names the check and what was seen and wanted.
func (e *EvidenceError) Error() string {
	return describe(string(e.Check), e.Got, e.Want, e.Err)
}

// Unwrap returns the cause; a nil error has none.
func (e *EvidenceError) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// UndecidedError says that a check could not be made, because something that it needs is missing.
// It is never a pass and never a rejection.
type UndecidedError struct {
	// Check that could not be made.
	Check CheckID
	// Class is one for which [Class.Undecided] holds.
	Class      Class
	Got, Want  string
	Spec, Hint string
	// Checks are all checks that ran, the one that could not be made last, as failed.
	Checks []Check
	Err    error
}

// Error names the check and what is missing.
func (e *UndecidedError) Error() string {
	return "could not decide: " + describe(string(e.Check), e.Got, e.Want, e.Err)
}

// Unwrap returns the cause; a nil error has none.
func (e *UndecidedError) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// CallerError says that the caller asked for something that cannot be done: an unknown format, a
// broken envelope, contradictory options, a configuration that will not do.
type CallerError struct {
	Class Class
	// Hint says what to do.
	Hint string
	Err  error
}

// Error returns the cause; the hint is printed on a line of its own at the edge.
func (e *CallerError) Error() string {
	if e.Err == nil {
		return strings.ToLower(string(e.Class))
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *CallerError) Unwrap() error { return e.Err }

func describe(check, got, want string, err error) string {
	var out strings.Builder
	out.WriteString(check)
	if got != "" {
		out.WriteString(": got " + got)
	}
	if want != "" {
		out.WriteString(", want " + want)
	}
	if err != nil {
		out.WriteString(": " + err.Error())
	}
	return out.String()
}
