package challenge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/attestd/attestd"
)

// Schema names the document that challenges are handed out in.
const Schema = "attestd.challenge.v1"

// DefaultPurpose is the purpose of a challenge whose caller named none.
const DefaultPurpose = "verify"

// MaxLifetime is the longest that a challenge may live.
const MaxLifetime = time.Minute

// MaxNonce is the longest nonce that is issued; 64 bytes fill the report data of SEV-SNP and TDX.
const MaxNonce = 64

// Reply is what a caller that asked for a challenge gets.
type Reply struct {
	// Schema is Schema.
	Schema    string            `json:"schema"`
	Challenge attestd.Challenge `json:"challenge"`
	// Signature is a compact JWS over the JSON of Challenge. It does not cover what follows: whoever
	// changes that makes the credential's answer a wrong one.
	Signature string `json:"signature"`
	// Activation is the credential to be answered; nil where none was asked for or none is needed.
	Activation *Activation `json:"activation,omitempty"`
	// Activated says that the attestation key answered a credential under the same endorsement key
	// before, so that there is nothing to answer.
	Activated bool `json:"activated,omitempty"`
}

// Store keeps challenges. Package registry has the one there is.
type Store interface {
	Now() time.Time
	InsertChallenge(ctx context.Context, issued Issued) error
	Consume(ctx context.Context, use Use) (Taken, Outcome, error)
}

// Config says how challenges are issued. Every field is required.
type Config struct {
	Store       Store
	Signer      *Signer
	TrustDomain string
	// Lifetime of a challenge, at most MaxLifetime.
	Lifetime time.Duration
	// NonceBytes is the length of a nonce where the caller wishes none, 32 to 64.
	NonceBytes int
}

// Issuer issues challenges and takes them back. It is safe for concurrent use.
type Issuer struct{ config Config }

// NewIssuer returns an issuer.
//
// Errors: where a field is missing or outside its bounds.
func NewIssuer(config Config) (*Issuer, error) {
	switch {
	case config.Store == nil, config.Signer == nil, config.TrustDomain == "":
		return nil, errors.New("an issuer needs a store, a signer and a trust domain")
	case config.Lifetime <= 0, config.Lifetime > MaxLifetime:
		return nil, fmt.Errorf("challenge lifetime is %s, want more than 0s and at most %s",
			config.Lifetime, MaxLifetime)
	case config.NonceBytes < attestd.MinNonce, config.NonceBytes > MaxNonce:
		return nil, fmt.Errorf("nonce has %d bytes, want %d to %d", config.NonceBytes, attestd.MinNonce, MaxNonce)
	}
	return &Issuer{config: config}, nil
}

// Wish is what a caller wants a challenge for.
type Wish struct {
	Format          attestd.Format
	Tenant, Purpose string
	// NonceBytes is the length of the nonce; 0 for the issuer's own.
	NonceBytes int
	// Source is where the wish came from, for the limits.
	Source string
	// Credential is what to keep of the credential that goes with the challenge; nil for none.
	Credential *Credential
}

// Issue returns a new, signed challenge that is on disk.
//
// Errors: a [*attestd.CallerError] of class MALFORMED for a length that is out of bounds and of
// class RATE_LIMITED where too many challenges wait; otherwise the store's.
func (i *Issuer) Issue(ctx context.Context, wish Wish) (Reply, error) {
	length := wish.NonceBytes
	if length == 0 {
		length = i.config.NonceBytes
	}
	if length < attestd.MinNonce || length > MaxNonce {
		return Reply{}, &attestd.CallerError{
			Class: attestd.ClassMalformed,
			Hint:  "leave nonce_bytes out, or give 64 where report data must equal the nonce",
			Err:   fmt.Errorf("nonce_bytes is %d, want %d to %d", length, attestd.MinNonce, MaxNonce),
		}
	}
	// crypto/rand and nothing else: a nonce that can be guessed lets evidence be made ahead of time.
	// Read never returns an error; it ends the process where the system has no randomness.
	nonce := make([]byte, length)
	_, _ = rand.Read(nonce)
	id, err := uuid.NewRandom()
	if err != nil {
		return Reply{}, fmt.Errorf("challenge id: %w", err)
	}
	now := i.config.Store.Now()
	challenge := attestd.Challenge{
		ID: id.String(), Nonce: nonce,
		TrustDomain: i.config.TrustDomain, VerifierKeyID: i.config.Signer.KeyID(),
		Tenant: wish.Tenant, Purpose: wish.Purpose, Format: wish.Format,
		IssuedAt: now, ExpiresAt: now.Add(i.config.Lifetime),
	}
	signature, err := i.config.Signer.Sign(challenge)
	if err != nil {
		return Reply{}, err
	}
	err = i.config.Store.InsertChallenge(ctx, Issued{
		Challenge: challenge, Source: wish.Source, Credential: wish.Credential,
	})
	if err != nil {
		return Reply{}, err
	}
	return Reply{Schema: Schema, Challenge: challenge, Signature: signature}, nil
}

// Checks of a challenge that is handed in.
const (
	// CheckKnown: the challenge is ours, unused, and for what it is used for.
	CheckKnown attestd.CheckID = "challenge/known"
	// CheckExpired: its time is not over.
	CheckExpired attestd.CheckID = "challenge/expired"
)

// Refusal says why a challenge will not do. It is an answer about evidence, not an error.
type Refusal struct {
	Check     attestd.CheckID
	Class     attestd.Class
	Got, Want string
}

// Consume takes a challenge back: from now on it is used. A Refusal says that it cannot be.
//
// Errors: the store's; nothing is known then, which is never a pass.
func (i *Issuer) Consume(ctx context.Context, use Use) (Taken, *Refusal, error) {
	taken, outcome, err := i.config.Store.Consume(ctx, use)
	if err != nil {
		return Taken{}, nil, err
	}
	if outcome == Consumed {
		return taken, nil, nil
	}
	refusal := refusals[outcome]
	if refusal.Class == "" {
		return Taken{}, nil, fmt.Errorf("unknown outcome %d of a challenge", outcome)
	}
	return Taken{}, &refusal, nil
}

const wantUnused = "a challenge of this verifier, alive and never used, for the tenant, purpose and format " +
	"of the request"

var refusals = map[Outcome]Refusal{
	Unknown: {
		Check: CheckKnown, Class: attestd.ClassStale, Want: wantUnused,
		Got: "a challenge that is not known here, or expired long ago",
	},
	Expired: {
		Check: CheckExpired, Class: attestd.ClassStale, Got: "a challenge that has expired",
		Want: "a challenge that is alive by the clock of the store",
	},
	UsedBefore: {
		Check: CheckKnown, Class: attestd.ClassReplay, Want: wantUnused, Got: "a challenge that was used before",
	},
	Foreign: {
		Check: CheckKnown, Class: attestd.ClassBinding, Want: wantUnused,
		Got: "a challenge for another tenant, purpose or format",
	},
}
