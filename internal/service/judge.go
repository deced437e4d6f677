package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral/set"
)

// Judge turns a Job into an Appraisal. It is the line between the part that holds keys, the store
// and the network, and the part that parses hostile bytes: everything that crosses it is plain data,
// so that an implementation can live in another process.
//
// An answer about evidence (accepted, rejected, undecided) is an Appraisal and no error. An error is
// a [*attestd.CallerError] (the job cannot be asked), the error of ctx, [context.DeadlineExceeded]
// where the implementation's own time was over first, or a bug.
//
// Implementations are safe for concurrent use, keep no slice of the job after they returned, and
// never write to one.
type Judge interface {
	Judge(ctx context.Context, job Job) (attestd.Appraisal, error)
	// Credential makes the credential that only the TPM with both of the job's keys can answer. A key
	// that will not do is a [*attestd.CallerError] of class MALFORMED, UNSUPPORTED or KEY_PROPERTIES.
	Credential(ctx context.Context, job CredentialJob) (CredentialReply, error)
}

// Sizes of what a credential is made of.
const (
	// SecretSize is the length of the secret inside: 256 bits, that nobody guesses.
	SecretSize = 32
	// EntropySize is how much randomness a credential takes. Seed, padding and ephemeral keys are
	// derived from it. It is part of the job, since a worker has none of its own.
	EntropySize = 64
	// MaxPublic is the longest TPMT_PUBLIC in bytes; an RSA-4096 key with a policy has about 600.
	MaxPublic = 1 << 10
)

// CredentialJob asks for a credential. The same job gives the same credential for ever.
type CredentialJob struct {
	// AKPublic and EKPublic are the TPMT_PUBLIC of the attestation key and the endorsement key, as the
	// attester sent them.
	AKPublic, EKPublic []byte
	// Secret is what the TPM will give back, SecretSize bytes; Entropy are EntropySize random bytes,
	// used for this job alone.
	Secret, Entropy []byte
}

// CredentialReply is a credential.
type CredentialReply struct {
	// AKName is the Name of the attestation key, computed from its public area, and EK the SHA-256 of
	// the endorsement key's DER SubjectPublicKeyInfo.
	AKName []byte
	EK     [sha256.Size]byte
	// Blob is a TPMS_ID_OBJECT, EncryptedSecret the buffer of a TPM2B_ENCRYPTED_SECRET.
	Blob, EncryptedSecret []byte
}

// Job is one question to a [Judge]. The same Job gives the same answer for ever.
type Job struct {
	// Format of the evidence; empty to have it detected.
	Format       attestd.Format       `json:"format,omitempty"`
	Evidence     []byte               `json:"evidence"`
	Endorsements attestd.Endorsements `json:"endorsements"`
	// At is the time at which everything is judged.
	At     time.Time  `json:"at"`
	Demand DemandSpec `json:"demand"`
	// ChallengeExpiresAt is the end of the challenge's life by the clock that At is from; zero where
	// no challenge of ours stands behind the demand.
	ChallengeExpiresAt time.Time `json:"challenge_expires_at,omitzero"`
	// Activation and LastSeen are what the store knows of the attestation key; nil for nothing.
	Activation *attestd.Activation `json:"activation,omitempty"`
	LastSeen   *attestd.TPMState   `json:"last_seen,omitempty"`
	// Policy is the appraisal policy.
	Policy Document `json:"policy"`
	// References are the reference values; none is a valid answer, never "anything goes".
	References []Document `json:"references,omitempty"`
	// Collateral is what the verifier's own side keeps for the format, as package set writes it; without
	// bytes for nothing. It is used beside the job's endorsements.
	Collateral Document `json:"collateral,omitzero"`
}

// Anchors returns what the job and its collateral, which was read before, say is known from before. The
// keys that reference values name are not among it: they are added where the reference values are read.
func (j Job) Anchors(kept set.Set) attestd.Anchors {
	return attestd.Anchors{
		Activation: j.Activation, LastSeen: j.LastSeen,
		CRLFloors: kept.Floors, DocumentFloors: kept.DocumentFloors,
	}
}

// Beside returns the endorsements that the evidence is verified with: those of the job, and the
// collateral that is kept. A caller can add to what is kept, never take from it; signed documents are
// those that are kept alone, since an old one is as authentic as a new one.
func (j Job) Beside(kept set.Set) attestd.Endorsements {
	return attestd.Endorsements{
		Certificates: slices.Concat(j.Endorsements.Certificates, kept.Certificates),
		CRLs:         slices.Concat(j.Endorsements.CRLs, kept.CRLs),
		Documents:    kept.Documents,
	}
}

// Document is a policy or reference-values document with the name it came under. Its digest is what
// parsed forms are cached by.
type Document struct {
	Source string `json:"source"`
	Bytes  []byte `json:"bytes"`
}

// Digest returns the SHA-256 of the document's bytes in hex.
func (d Document) Digest() string {
	digest := sha256.Sum256(d.Bytes)
	return hex.EncodeToString(digest[:])
}

// DemandMode says which constructor of [attestd.Demand] a DemandSpec stands for. The zero mode makes
// no Demand at all.
type DemandMode string

// Modes of a demand.
const (
	DemandRecorded DemandMode = "recorded"
	DemandNonce    DemandMode = "nonce"
	DemandBinding  DemandMode = "binding"
)

// DemandSpec is an [attestd.Demand] before it was made: plain data that can cross a process border,
// from which both sides make the Demand through the same constructors and their refusals.
type DemandSpec struct {
	Mode DemandMode `json:"mode"`
	// Nonce must equal the freshness field: required in mode nonce, allowed in mode recorded.
	Nonce []byte `json:"nonce,omitempty"`
	// KeySPKI must be the key in the evidence's own field, in the modes nonce and recorded.
	KeySPKI []byte `json:"key_spki,omitempty"`
	// Binding is what the freshness field must hold the digest of, in mode binding; it names its own
	// nonce and key.
	Binding attestd.Binding `json:"binding,omitzero"`
}

// Demand makes the demand.
//
// Errors: those of [attestd.Fresh], [attestd.Bound], [attestd.Demand.WithNonce] and
// [attestd.Demand.WithKey]; an unknown mode, or parts that the mode does not take, are bugs of the
// caller and never a weaker demand.
func (s DemandSpec) Demand() (attestd.Demand, error) {
	switch s.Mode {
	case DemandRecorded:
		return s.recorded()
	case DemandNonce:
		demand, err := attestd.Fresh(s.Nonce)
		if err != nil || len(s.KeySPKI) == 0 {
			return demand, err
		}
		return demand.WithKey(s.KeySPKI)
	case DemandBinding:
		if len(s.Nonce) != 0 || len(s.KeySPKI) != 0 {
			return attestd.Demand{}, errors.New("a binding names its own nonce and key, beside them none")
		}
		return attestd.Bound(s.Binding)
	default:
		return attestd.Demand{}, fmt.Errorf("unknown demand mode %q", attestd.Excerpt(string(s.Mode), 20))
	}
}

func (s DemandSpec) recorded() (attestd.Demand, error) {
	demand := attestd.Recorded()
	var err error
	if len(s.Nonce) != 0 {
		if demand, err = demand.WithNonce(s.Nonce); err != nil {
			return attestd.Demand{}, err
		}
	}
	if len(s.KeySPKI) != 0 {
		return demand.WithKey(s.KeySPKI)
	}
	return demand, nil
}
