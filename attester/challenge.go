package attester

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
)

// Verifier is whom an agent answers, from the agent's own configuration and never from a challenge.
type Verifier struct {
	// TrustDomain is the verifier's SPIFFE trust domain. It must be given: an agent that answers any
	// verifier's challenge can be used by one verifier to pass for it at another.
	TrustDomain string
	// KeySet is a JWK set as GET /v1/keys answers it, fetched beforehand from the verifier itself.
	// Without it signatures are not looked at, and the connection that the challenge came over must
	// vouch for it.
	KeySet []byte
}

// Challenge is a challenge that may be answered. There is no other way to one than [Verifier.Accept].
type Challenge struct{ reply challenge.Reply }

// Accept reads the reply of POST /v1/challenges and decides whether evidence of the format may be
// made for it at the time now.
//
// Errors: a [*attestd.CallerError]: MALFORMED for a broken document, FORBIDDEN for a challenge of a
// foreign trust domain, for another format or under another key, STALE for one that is over.
func (v Verifier) Accept(document []byte, format attestd.Format, now time.Time) (Challenge, error) {
	if v.TrustDomain == "" {
		return Challenge{}, refuse(attestd.ClassConfig, "name the trust domain of the verifier",
			errors.New("no trust domain says which verifier may be answered"))
	}
	reply, err := challenge.ParseReply(document)
	if err != nil {
		return Challenge{}, err
	}
	given := reply.Challenge
	switch {
	case given.TrustDomain != v.TrustDomain:
		return Challenge{}, refuse(attestd.ClassForbidden,
			"name this trust domain only if it is your verifier's: evidence for a foreign verifier can be used "+
				"to pass for this machine there",
			fmt.Errorf("the challenge is of trust domain %q, want %q",
				attestd.Excerpt(given.TrustDomain, 100), attestd.Excerpt(v.TrustDomain, 100)))
	case given.Format != format:
		return Challenge{}, refuse(attestd.ClassForbidden, "ask for a challenge of the format to be collected",
			fmt.Errorf("the challenge is for format %q, want %q", attestd.Excerpt(string(given.Format), 40), format))
	case given.ExpiresAt.IsZero() || !now.Before(given.ExpiresAt):
		return Challenge{}, refuse(attestd.ClassStale,
			"ask for a new challenge; if this one is new, set this machine's clock",
			fmt.Errorf("the challenge was over at %s, and it is %s",
				given.ExpiresAt.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)))
	}
	if len(v.KeySet) > 0 {
		if err := reply.VerifySignature(v.KeySet); err != nil {
			return Challenge{}, refuse(attestd.ClassForbidden,
				"fetch the verifier's keys again from the verifier itself: GET /v1/keys", err)
		}
	}
	return Challenge{reply: reply}, nil
}

func refuse(class attestd.Class, hint string, err error) error {
	return &attestd.CallerError{Class: class, Hint: hint, Err: err}
}

// ID names the challenge when its evidence is handed in.
func (c Challenge) ID() string { return c.reply.Challenge.ID }

// Tenant and Purpose are the challenge's; evidence is handed in for the same.
func (c Challenge) Tenant() string { return c.reply.Challenge.Tenant }

// Purpose is what the evidence will be used for.
func (c Challenge) Purpose() string { return c.reply.Challenge.Purpose }

// ExpiresAt is when the verifier stops taking an answer.
func (c Challenge) ExpiresAt() time.Time { return c.reply.Challenge.ExpiresAt }

// Freshness returns the value for the evidence's freshness field: the digest that binds this
// challenge and the key spki, a DER SubjectPublicKeyInfo, or no key where spki is empty.
//
// Errors: those of [attestd.Binding.Digest].
func (c Challenge) Freshness(spki []byte) ([]byte, error) {
	return c.reply.Challenge.Binding(spki).Digest()
}

// Activation returns the credential that came with the challenge, as TPM2_ActivateCredential takes it:
// TPMS_ID_OBJECT and the buffer of TPM2B_ENCRYPTED_SECRET. There is none where ok is false: no keys were named
// when the challenge was asked for, or the verifier knows them from before.
func (c Challenge) Activation() (blob, secret []byte, ok bool) {
	given := c.reply.Activation
	if given == nil {
		return nil, nil, false
	}
	return bytes.Clone(given.CredentialBlob), bytes.Clone(given.EncryptedSecret), true
}

// Activated reports whether the verifier knows the attestation key under its endorsement key from
// before.
func (c Challenge) Activated() bool { return c.reply.Activated }
