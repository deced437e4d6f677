package tpm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// Identity is what a TPM is known by. Slices belong to the caller.
type Identity struct {
	// AKPublic and EKPublic are TPMT_PUBLIC, as POST /v1/challenges takes them.
	AKPublic, EKPublic []byte
	// AKName is the attestation key's Name: hash algorithm (2 bytes) and digest.
	AKName []byte
	// AKSPKI and EKSPKI are the keys as DER SubjectPublicKeyInfo.
	AKSPKI, EKSPKI []byte
	// EKKind names the endorsement key's template, as in "RSA 2048 (L-1)".
	EKKind string
	// EKCertificate is DER; nil where the TPM holds none.
	EKCertificate []byte
	// EKChain are the certificates for its chain, from the TPM and from [Options.Intermediates].
	EKChain [][]byte
}

// AKSHA256 and EKSHA256 name the keys in reference values: SHA-256 of the SPKI.
func (i Identity) AKSHA256() [sha256.Size]byte { return sha256.Sum256(i.AKSPKI) }

// EKSHA256 names the endorsement key in reference values.
func (i Identity) EKSHA256() [sha256.Size]byte { return sha256.Sum256(i.EKSPKI) }

// Identity returns what the TPM is known by. The first time on a TPM it makes the keys that are not
// there yet and keeps them.
func (d *Device) Identity(ctx context.Context) (identity Identity, err error) {
	err = d.with(ctx, func(c *connection) error {
		endorsement, err := c.endorsement(d.options)
		if err != nil {
			return err
		}
		ak, err := c.attestation(d.options)
		if err != nil {
			return err
		}
		identity = identityOf(ak, endorsement, d.options)
		return nil
	})
	return identity, err
}

func identityOf(ak object, ek endorsement, o Options) Identity {
	out := Identity{
		AKPublic: ak.raw, AKName: bytes.Clone(ak.name.Buffer), AKSPKI: ak.spki,
		EKPublic: ek.key.raw, EKSPKI: ek.key.spki, EKKind: ek.kind, EKCertificate: ek.certificate,
	}
	for _, der := range append(ek.chain, o.Intermediates...) {
		out.EKChain = append(out.EKChain, bytes.Clone(der))
	}
	return out
}

// attestation finds the attestation key or makes it.
//
// Errors: where something else lies at its handle, which is never replaced: it may be another
// program's only key.
func (c *connection) attestation(o Options) (object, error) {
	template := attestationTemplate()
	handle := tpm2.TPMHandle(o.AKHandle)
	found, qualified, err := c.read(handle)
	switch {
	case errors.Is(err, errNoObject):
		return c.makeAttestation(o)
	case err != nil:
		return object{}, err
	case !matches(found.public, template):
		return object{}, foreign(handle, "is not an attestation key of this program")
	case !bytes.Equal(qualified, primaryName(tpm2.TPMRHEndorsement, found.name.Buffer)):
		return object{}, foreign(handle, "is not a primary key of the endorsement hierarchy")
	}
	return found, nil
}

// makeAttestation makes the attestation key and keeps it. Which key that is follows from the TPM's
// seeds and the handle: it comes back the same where it was evicted, and is another one at another
// handle and after TPM2_Clear. The latter sets clock and counters to zero and leaves the endorsement
// seed (TPM 2.0 Library, Part 3, revision 1.59, section 24.6); with the old key a verifier that
// remembers it would see a TPM that went back.
func (c *connection) makeAttestation(o Options) (object, error) {
	storage, err := c.create(tpm2.TPMRHOwner, o.OwnerAuth, tpm2.ECCSRKTemplate)
	if err != nil {
		return object{}, fmt.Errorf("attestation key: %w", err)
	}
	if err := c.flush(uint32(storage.handle)); err != nil {
		return object{}, explain("flush a key", err)
	}
	owned := sha256.Sum256(binary.BigEndian.AppendUint32(bytes.Clone(storage.name.Buffer), o.AKHandle))
	template := attestationTemplate()
	template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: owned[:]},
	})
	made, err := c.create(tpm2.TPMRHEndorsement, o.EndorsementAuth, template)
	if err != nil {
		return object{}, fmt.Errorf("attestation key: %w", err)
	}
	return c.persist(made, o.AKHandle, o.OwnerAuth)
}

func foreign(handle tpm2.TPMHandle, what string) error {
	return refuse("choose another handle for the attestation key, or, if nobody needs what is there, remove it: "+
		fmt.Sprintf("tpm2_evictcontrol -C o -c 0x%08x", uint32(handle)),
		fmt.Errorf("the object at 0x%08x %s", uint32(handle), what))
}

// Activate answers a credential that a verifier made for this TPM's attestation key under its
// endorsement key (TPM 2.0 Library, Part 1, revision 1.59, section 24, "Credential Protection"). blob
// is TPMS_ID_OBJECT and secret the buffer of TPM2B_ENCRYPTED_SECRET, as POST /v1/challenges answers
// them.
//
// Errors: where the credential is for another key or another TPM.
func (d *Device) Activate(ctx context.Context, blob, secret []byte) (answer []byte, err error) {
	err = d.with(ctx, func(c *connection) error {
		endorsement, err := c.endorsement(d.options)
		if err != nil {
			return err
		}
		ak, err := c.attestation(d.options)
		if err != nil {
			return err
		}
		auth, err := c.endorsementAuth(endorsement.key, d.options)
		if err != nil {
			return err
		}
		given, err := tpm2.ActivateCredential{
			ActivateHandle: ak.auth(),
			KeyHandle: tpm2.AuthHandle{
				Handle: endorsement.key.handle, Name: endorsement.key.name, Auth: auth,
			},
			CredentialBlob: tpm2.TPM2BIDObject{Buffer: blob},
			Secret:         tpm2.TPM2BEncryptedSecret{Buffer: secret},
		}.Execute(c)
		var code tpm2.TPMRC
		switch {
		case c.broken == nil && errors.As(err, &code) && !code.IsWarning():
			return refuse("ask for a new challenge with this machine's own attestation_key and endorsement_key",
				fmt.Errorf("the credential is not for this TPM's attestation key: %w", err))
		case err != nil:
			return explain("activate a credential", err)
		}
		answer = given.CertInfo.Buffer
		return nil
	})
	return answer, err
}

// endorsementAuth is what the endorsement key's template demands for its use: the hierarchy's secret
// under a policy (low range), or the key's own empty password (high range).
func (c *connection) endorsementAuth(key object, o Options) (tpm2.Session, error) {
	if key.public.ObjectAttributes.UserWithAuth {
		return tpm2.PasswordAuth(nil), nil
	}
	session, _, err := tpm2.PolicySession(c, key.public.NameAlg, 16)
	if err != nil {
		return nil, explain("start a session", err)
	}
	_, err = tpm2.PolicySecret{
		AuthHandle: tpm2.AuthHandle{
			Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(o.EndorsementAuth),
		},
		PolicySession: session.Handle(), NonceTPM: session.NonceTPM(),
	}.Execute(c)
	if err != nil {
		return nil, explain("use the endorsement hierarchy", err)
	}
	return session, nil
}
