package tpm

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/tpm2"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
)

// CredentialRequest says for whom a credential is made. Nothing of it but the public areas may come
// from the attester.
type CredentialRequest struct {
	// AKPublic and EKPublic are TPMT_PUBLIC. The attestation key's Name is computed from the former.
	AKPublic, EKPublic []byte
	// Secret is what the TPM returns where it holds both keys: 32 random bytes, used once.
	Secret []byte
	// Entropy is EntropySize random bytes, used for nothing else.
	Entropy []byte
}

// EntropySize and SecretSize are the lengths of a request's random parts.
const (
	EntropySize = tpmtrust.EntropySize
	SecretSize  = 32
)

// Credential is a credential, and what the answer to it will show.
type Credential struct {
	// AKName is the attestation key's Name, as computed here, and EK the SHA-256 of the endorsement
	// key's DER SubjectPublicKeyInfo.
	AKName []byte
	EK     [sha256.Size]byte
	// Blob and EncryptedSecret are the buffers of TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET.
	Blob, EncryptedSecret []byte
}

// MakeCredential makes a credential that only a TPM with both keys can open (TPM 2.0 Library, Part 1,
// section 24). It shows nothing about either key: whether the endorsement key is a TPM's is a matter
// of its certificate, which is judged with the evidence.
//
// Errors: a *attestd.CallerError of class MALFORMED where a public area cannot be read, and of class
// KEY_PROPERTIES where the attestation key is none or the endorsement key is by no template.
func MakeCredential(request CredentialRequest) (Credential, error) {
	ak, err := tpm2.ParsePublic(request.AKPublic)
	if err != nil {
		return Credential{}, badRequest(attestd.ClassMalformed, "attestation_key", err)
	}
	ek, err := tpm2.ParsePublic(request.EKPublic)
	if err != nil {
		return Credential{}, badRequest(attestd.ClassMalformed, "endorsement_key", err)
	}
	problem := attributeProblem(&ak)
	if problem == "" {
		problem = algorithmProblem(&ak)
	}
	if problem != "" {
		return Credential{}, badRequest(attestd.ClassKeyProperties, "attestation_key",
			errors.New(problem))
	}
	if bad := tpmtrust.CheckEKTemplate(ek); bad != nil {
		return Credential{}, badRequest(attestd.ClassKeyProperties, "endorsement_key", bad)
	}
	if len(request.Secret) != SecretSize {
		return Credential{}, fmt.Errorf("secret of %d bytes, want %d", len(request.Secret), SecretSize)
	}
	spki, noSPKI := ek.SPKI()
	made, err := tpmtrust.MakeCredential(tpmtrust.CredentialInput{
		AK: ak, EK: ek, Secret: request.Secret, Entropy: request.Entropy,
	})
	if err = cmp.Or(err, noSPKI); err != nil {
		return Credential{}, fmt.Errorf("credential: %w", err)
	}
	return Credential{AKName: ak.Name(), EK: sha256.Sum256(spki),
		Blob: made.Blob, EncryptedSecret: made.EncryptedSecret}, nil
}

func badRequest(class attestd.Class, field string, err error) error {
	return &attestd.CallerError{
		Class: class,
		Hint: "send TPMT_PUBLIC of a restricted signing key (" + wantAttributes + ") and of an EK by a " +
			"TCG template",
		Err: fmt.Errorf("%s: %w", field, err),
	}
}
