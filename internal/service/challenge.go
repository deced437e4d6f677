package service

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
)

// Wish is what a caller wants a challenge for.
type Wish struct {
	challenge.Wish
	// AttestationKey and EndorsementKey are the TPMT_PUBLIC of a TPM's keys, for a credential that
	// shows them to be in one TPM; both or none.
	AttestationKey, EndorsementKey []byte
}

// Challenge issues a challenge, with a credential where the wish names keys that have not answered
// one before.
//
// Errors: [*attestd.CallerError] (of class CONFLICT where a key is already another's) or
// [*attestd.UndecidedError]; the error of ctx; anything else is a bug.
func (s *Service) Challenge(ctx context.Context, wish Wish) (challenge.Reply, error) {
	if err := s.scope(wish.Tenant, wish.Purpose, wish.Format); err != nil {
		return challenge.Reply{}, err
	}
	if err := wish.checkKeys(); err != nil {
		return challenge.Reply{}, err
	}
	var activation *challenge.Activation
	if len(wish.AttestationKey) != 0 {
		var err error
		if wish.Credential, activation, err = s.credential(ctx, wish); err != nil {
			return challenge.Reply{}, err
		}
	}
	reply, err := s.config.Issuer.Issue(ctx, wish.Wish)
	if err != nil {
		return challenge.Reply{}, storeError(ctx, err)
	}
	reply.Activation = activation
	reply.Activated = wish.Credential != nil && wish.Credential.Earlier
	return reply, nil
}

func (w Wish) checkKeys() error {
	attestation, endorsement := len(w.AttestationKey), len(w.EndorsementKey)
	fault := func(class attestd.Class, format string, args ...any) error {
		return &attestd.CallerError{
			Class: class, Err: fmt.Errorf(format, args...),
			Hint: "give both keys as TPMT_PUBLIC, for format tpm or composite; or none, where a certificate, " +
				"a TEE's report or the operator vouches for the attestation key",
		}
	}
	switch {
	case attestation == 0 && endorsement == 0:
		return nil
	case !hasTPM(w.Format):
		return fault(attestd.ClassMalformed, "format %q takes no attestation key", w.Format)
	case attestation == 0 || endorsement == 0:
		return fault(attestd.ClassMalformed, "got one of attestation key and endorsement key, want both")
	case max(attestation, endorsement) > MaxPublic:
		return fault(attestd.ClassTooLarge, "a key has %d bytes, want at most %d",
			max(attestation, endorsement), MaxPublic)
	}
	return nil
}

// hasTPM reports whether evidence of the format can have a TPM's quote whose key a credential vouches
// for. That of azure-vtpm needs none: the report of the TEE states the key of the TPM inside it.
func hasTPM(format attestd.Format) bool {
	return format == attestd.FormatTPM || format == attestd.FormatComposite
}

// credential makes a credential within the limits: there must be room for the challenge before any
// work is done for it, and a place among the judgements, since it costs an encryption in a worker.
func (s *Service) credential(
	ctx context.Context, wish Wish,
) (*challenge.Credential, *challenge.Activation, error) {
	if err := s.config.Store.Room(ctx, wish.Tenant, wish.Source); err != nil {
		return nil, nil, storeError(ctx, err)
	}
	release, err := s.slots.take(ctx, s.config.Timeout)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	// Drawn here: the part that parses the keys has no randomness, and what it makes of the secret is
	// seen by no other request. Read never returns an error.
	random := make([]byte, SecretSize+EntropySize)
	_, _ = rand.Read(random)
	secret := random[:SecretSize:SecretSize]
	made, err := within(ctx, s.config.Timeout, func(ctx context.Context) (CredentialReply, error) {
		return s.config.Judge.Credential(ctx, CredentialJob{
			AKPublic: wish.AttestationKey, EKPublic: wish.EndorsementKey,
			Secret: secret, Entropy: random[SecretSize:],
		})
	})
	if err != nil {
		return nil, nil, err
	}
	known, err := s.config.Store.KnowsKey(ctx, wish.Tenant, made.AKName, made.EK)
	if err != nil {
		return nil, nil, storeError(ctx, err)
	}
	kept := &challenge.Credential{AKName: made.AKName, EK: made.EK}
	if known {
		kept.Earlier = true
		return kept, nil, nil
	}
	kept.Secret = sha256.Sum256(secret)
	return kept, &challenge.Activation{
		CredentialBlob: made.Blob, EncryptedSecret: made.EncryptedSecret,
	}, nil
}

// Bounds of an answer in bytes. TPMs give back exactly what was in the credential; a shorter one
// could be found by trying.
const (
	MinSecret = 16
	MaxSecret = 64
)

// checkSecret refuses what can be no answer before the challenge is used up for it.
func (s Submission) checkSecret() error {
	size := len(s.ActivationSecret)
	switch {
	case size == 0:
		return nil
	case !hasTPM(s.Format):
		return unwanted(fmt.Errorf("format %q has no credentials to answer", s.Format))
	case size < MinSecret || size > MaxSecret:
		return &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "give what TPM2_ActivateCredential returned, whole",
			Err: fmt.Errorf("activation_secret has %d bytes, want %d to %d", size, MinSecret, MaxSecret),
		}
	}
	return nil
}

func unwanted(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassMalformed, Err: err,
		Hint: "leave activation_secret out where the challenge's reply has no member activation",
	}
}

// activation says what the answer is compared with. A credential that nobody answered goes to the
// verifier without an answer, and is refused there: it is never as if none had been made.
//
// Errors: a [*attestd.CallerError] of class MALFORMED for an answer where nothing was asked, and of
// class CONFLICT where an earlier one is not known any more. The challenge is used up then.
func (s Submission) activation(taken challenge.Taken) (*attestd.Activation, error) {
	credential := taken.Credential
	switch {
	case credential == nil && len(s.ActivationSecret) == 0:
		return nil, nil
	case credential == nil:
		return nil, unwanted(errors.New("activation_secret answers nothing: the challenge came without a credential"))
	case !credential.Earlier:
		return &attestd.Activation{
			AKName: credential.AKName, EK: credential.EK, Secret: credential.Secret,
			Answer: s.ActivationSecret,
		}, nil
	case len(s.ActivationSecret) != 0:
		return nil, unwanted(errors.New("activation_secret answers nothing: the key was activated before"))
	case taken.Key == nil:
		return nil, challenge.ErrForgotten()
	}
	return &attestd.Activation{AKName: credential.AKName, EK: credential.EK, Earlier: true}, nil
}
