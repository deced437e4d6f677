package service

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
)

// residencyActivated is the value of the fact ak_residency of a key that answered a credential.
const residencyActivated = "activated"

// tpmFacts are the facts of a TPM that are remembered, whether its evidence stood alone or beside that
// of other devices. A fact that is not there or not
// visible is nil; one of another kind is an error, never a zero.
type tpmFacts struct {
	Residency    *string      `json:"ak_residency"`
	AKName       *octetString `json:"ak_name"`
	EK           *octetString `json:"ek_sha256"`
	Clock        *uint64      `json:"clock"`
	ResetCount   *uint32      `json:"reset_count"`
	RestartCount *uint32      `json:"restart_count"`
	Firmware     *uint64      `json:"firmware_version"`
	IMAOffset    *uint64      `json:"ima_offset"`
	IMAEntries   *uint64      `json:"ima_entries"`
	IMABank      *string      `json:"ima_bank"`
	IMARegister  *octetString `json:"ima_register"`
}

// octetString is a byte string as claims have it: lower-case hex.
type octetString []byte

// UnmarshalText implements [encoding.TextUnmarshaler].
func (o *octetString) UnmarshalText(text []byte) error {
	decoded, err := hex.DecodeString(string(text))
	if err != nil || len(decoded) == 0 {
		return errors.New("a fact is not bytes in hex")
	}
	*o = decoded
	return nil
}

// State returns what an accepted verdict on evidence with an activation shows of the TPM. It is how
// the side that stores it knows that the verdict is about the keys that were asked about, and that the
// answer was right, without believing the side that parsed the evidence.
//
// Errors: where the answer is wrong, or the claims are about other keys or lack what every quote
// states. No verdict of the verifier is like that.
func State(activation attestd.Activation, given attestd.Appraisal) (attestd.TPMState, error) {
	var facts tpmFacts
	claims := []byte(given.Claims)
	if len(given.Devices) != 0 {
		var found bool
		if claims, found = given.PartOf(attestd.FormatTPM); !found {
			return attestd.TPMState{}, errors.New("accepted, and no device is the TPM whose key was activated")
		}
	}
	if err := json.Unmarshal(claims, &facts); err != nil {
		return attestd.TPMState{}, fmt.Errorf("claims: %s", attestd.Excerpt(err.Error(), 160))
	}
	answer := sha256.Sum256(activation.Answer)
	switch {
	case !activation.Earlier && subtle.ConstantTimeCompare(answer[:], activation.Secret[:]) != 1:
		return attestd.TPMState{}, errors.New("accepted, with a wrong answer to its credential")
	case facts.Residency == nil || *facts.Residency != residencyActivated:
		return attestd.TPMState{}, errors.New("accepted, and the attestation key is not activated")
	case facts.AKName == nil || !bytes.Equal(*facts.AKName, activation.AKName):
		return attestd.TPMState{}, errors.New("accepted, for another attestation key than was activated")
	case facts.EK == nil || !bytes.Equal(*facts.EK, activation.EK[:]):
		return attestd.TPMState{}, errors.New("accepted, for another endorsement key than was activated")
	case facts.Clock == nil, facts.ResetCount == nil, facts.RestartCount == nil, facts.Firmware == nil:
		return attestd.TPMState{}, errors.New("accepted, without clock, counters or firmware version")
	}
	ima, err := facts.ima()
	return attestd.TPMState{
		ResetCount: *facts.ResetCount, RestartCount: *facts.RestartCount, Clock: *facts.Clock,
		Firmware: *facts.Firmware, IMA: ima,
	}, err
}

// ima returns the point that the log was replayed to, nil where there was none: all of it or nothing.
func (f tpmFacts) ima() (*attestd.IMAState, error) {
	if f.IMAOffset == nil && f.IMAEntries == nil && f.IMARegister == nil {
		return nil, nil
	}
	if f.IMAOffset == nil || f.IMAEntries == nil || f.IMABank == nil || f.IMARegister == nil ||
		len(*f.IMARegister) < sha256.Size || len(*f.IMARegister) > 64 || len(*f.IMABank) > 16 {
		return nil, errors.New("accepted, with a part of a point in an IMA log")
	}
	return &attestd.IMAState{
		Offset: *f.IMAOffset, Entries: *f.IMAEntries, Bank: *f.IMABank, Register: *f.IMARegister,
	}, nil
}

// seenBy returns what is to be remembered of an attestation key with a verdict: something where the
// verdict is accepted and the key answered a credential, now or earlier. Rejected evidence changes
// nothing: anybody can send it in anybody's name.
func seenBy(
	taken challenge.Taken, job Job, given attestd.Appraisal,
) (*challenge.Seen, error) {
	if given.Verdict != attestd.VerdictAccepted || job.Activation == nil {
		return nil, nil
	}
	state, err := State(*job.Activation, given)
	if err != nil {
		return nil, err
	}
	return &challenge.Seen{Credential: *taken.Credential, State: state, Against: job.LastSeen}, nil
}
