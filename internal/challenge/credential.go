package challenge

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/attestd/attestd"
)

// Activation is a credential as TPM2_ActivateCredential takes it (TPM 2.0 Library, Part 1, section
// "Credential Protection"). Only the TPM that holds both keys it was made for can answer it.
type Activation struct {
	// CredentialBlob is a TPMS_ID_OBJECT, EncryptedSecret the seed that it is protected by, encrypted
	// to the endorsement key; both without the size of the TPM2B around them.
	CredentialBlob  []byte `json:"credential_blob"`
	EncryptedSecret []byte `json:"encrypted_secret"`
}

// Credential is what the store keeps of a credential: enough to know the answer when it comes, and
// nothing to give it with.
type Credential struct {
	// AKName is the Name of the attestation key, EK the SHA-256 of the endorsement key's DER
	// SubjectPublicKeyInfo.
	AKName []byte
	EK     [sha256.Size]byte
	// Secret is the SHA-256 of the secret; unused where Earlier is set.
	Secret [sha256.Size]byte
	// Earlier says that the key had answered a credential before, and none was made.
	Earlier bool
}

// Key is an attestation key that answered a credential.
type Key struct {
	EK [sha256.Size]byte
	// ActivatedAt is when it last answered one.
	ActivatedAt time.Time
	// State is the furthest that its TPM was seen at.
	State attestd.TPMState
}

// Seen is what an accepted verdict showed of an attestation key.
type Seen struct {
	Credential Credential
	State      attestd.TPMState
	// Against is the state that the verdict was reached with; nil where the key was not known then.
	Against *attestd.TPMState
}

// MovedError says that a verdict was not stored, because another one moved the state of its
// attestation key past it meanwhile: what it says about the TPM's clock is no longer true.
type MovedError struct {
	// State is where the key's TPM is now known to have been.
	State attestd.TPMState
}

// Error says what happened.
func (e *MovedError) Error() string {
	return fmt.Sprintf("the state of the attestation key moved on to reset %d, clock %d meanwhile",
		e.State.ResetCount, e.State.Clock)
}

// Behind reports whether a TPM at state later has gone back since state earlier: fewer resets, or
// within the same time between resets fewer restarts or an earlier clock. Counters are compared by
// their difference: those of a key in the owner hierarchy have an offset, and wrap (TPM 2.0 Library,
// Part 1, sections 36.3 and 36.7).
func Behind(later, earlier attestd.TPMState) bool {
	resets := int32(later.ResetCount - earlier.ResetCount)       //nolint:gosec // the sign is asked for
	restarts := int32(later.RestartCount - earlier.RestartCount) //nolint:gosec // the same
	switch {
	case resets != 0:
		return resets < 0
	case restarts != 0:
		return restarts < 0
	default:
		return later.Clock < earlier.Clock
	}
}

// Differs reports whether a verdict that was reached without knowing earlier could be another with
// it: the TPM is behind it, or its clock is, which over a reset can be either.
func Differs(later, earlier attestd.TPMState) bool {
	return Behind(later, earlier) || later.Clock < earlier.Clock
}

// Furthest returns the state to remember after seen where known was remembered before: never one
// that lies behind. A log position belongs to the time between two resets or restarts, which set PCR 10
// to zero, and of two within it the later one is kept.
func Furthest(known, seen attestd.TPMState) attestd.TPMState {
	if Behind(seen, known) {
		return known
	}
	kept := seen
	sameBoot := known.ResetCount == seen.ResetCount && known.RestartCount == seen.RestartCount
	if sameBoot && known.IMA != nil &&
		(seen.IMA == nil || seen.IMA.Offset < known.IMA.Offset) {
		kept.IMA = known.IMA
	}
	return kept
}

// conflict says that a key is already somebody else's.
func conflict(hint, format string, args ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassConflict, Hint: hint, Err: fmt.Errorf(format, args...),
	}
}

// ErrOtherEndorsementKey is the refusal of an attestation key that is known under another
// endorsement key: a key lives in one TPM, so one of the two claims is false.
func ErrOtherEndorsementKey() error {
	return conflict("make a new attestation key in this TPM; one TPM's key is never another's",
		"the attestation key is enrolled under another endorsement key")
}

// ErrOtherTenant is the refusal of an endorsement key that another tenant's keys stand under: one
// machine with two owners is a machine whose laxer owner speaks for the other.
func ErrOtherTenant() error {
	return conflict("a machine belongs to one tenant; ask with the tenant it was enrolled for",
		"the endorsement key is enrolled for another tenant")
}

// ErrForgotten is the refusal of an answer that relies on an earlier activation which is not known
// any more.
func ErrForgotten() error {
	return conflict("ask for a new challenge; it will hold a credential to answer",
		"the attestation key's earlier activation is not known any more")
}
