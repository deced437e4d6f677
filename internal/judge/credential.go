package judge

import (
	"crypto/sha256"
	"errors"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/tpm"
)

// CredentialRequest asks for a credential that only the TPM with both keys can answer.
type CredentialRequest struct {
	// AKPublic and EKPublic are the TPMT_PUBLIC of both keys, as received.
	AKPublic, EKPublic []byte
	// Secret is what the TPM gives back; Entropy are random bytes for the encryption. Both come from
	// the caller, so that the same request gives the same credential.
	Secret, Entropy []byte
}

// Credential is a credential, and whom it is for as computed here.
type Credential struct {
	// AKName is the Name of the attestation key, EK the SHA-256 of the endorsement key's DER
	// SubjectPublicKeyInfo.
	AKName []byte
	EK     [sha256.Size]byte
	// Blob is a TPMS_ID_OBJECT, EncryptedSecret the buffer of a TPM2B_ENCRYPTED_SECRET.
	Blob, EncryptedSecret []byte
}

// credentialMaker makes a credential; there is one, and tests put another in its place.
type credentialMaker func(CredentialRequest) (Credential, error)

func makeCredential(request CredentialRequest) (Credential, error) {
	made, err := tpm.MakeCredential(tpm.CredentialRequest(request))
	return Credential(made), err
}

// Credential makes a credential behind the same wall as every verification.
//
// Errors: a [*attestd.CallerError] where a key will not do, of class MALFORMED, UNSUPPORTED or
// KEY_PROPERTIES; a [*Bug].
func (j *Judge) Credential(request CredentialRequest) (made Credential, err error) {
	defer caught(attestd.FormatTPM, &err)
	made, err = j.credential(request)
	var caller *attestd.CallerError
	switch {
	case err == nil:
		return made, nil
	case errors.As(err, &caller):
		return Credential{}, err
	default:
		// The cause could name the secret.
		return Credential{}, &Bug{Format: attestd.FormatTPM, What: "no credential was made"}
	}
}
