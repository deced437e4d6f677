package enrol

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// A token is "attestd-enrol-ID-SECRET": 8 bytes that name it, in hex, and 32 that nobody else knows,
// in URL-safe base64. The prefix is for programs that look for secrets where none should be.
var tokenForm = regexp.MustCompile(`^attestd-enrol-([0-9a-f]{16})-([A-Za-z0-9_-]{43})$`)

// Life of a token, in seconds.
const (
	minTokenLife = 60
	maxTokenLife = 7 * 24 * 3600
)

// NewToken makes a one-time token. What it answers is the only place where the token ever stands.
//
// Errors: a [*attestd.CallerError] of class MALFORMED or FORBIDDEN; what the store says.
func (d *Desk) NewToken(
	ctx context.Context, who operator.Principal, ask wire.TokenRequest,
) (wire.Token, error) {
	if err := d.demand(who, ask.Tenant); err != nil {
		return wire.Token{}, err
	}
	if err := checkTokenRequest(ask); err != nil {
		return wire.Token{}, err
	}
	var drawn [40]byte
	if _, err := io.ReadFull(d.rand, drawn[:]); err != nil {
		return wire.Token{}, fmt.Errorf("draw a token: %w", err)
	}
	id, now := hex.EncodeToString(drawn[:8]), d.now()
	token := subject.Token{
		ID: id, Secret: sha256.Sum256(drawn[8:]), Tenant: ask.Tenant, Label: ask.Label,
		Formats: slices.Clone(ask.Formats), By: who.Name, CreatedAt: now,
		ExpiresAt: now.Add(time.Duration(ask.Seconds) * time.Second),
	}
	record := d.audited(who, ask.Tenant, "enroll.token", "token:"+id)
	if err := d.write(ctx, subject.Write{NewToken: &token, Audit: []audit.Record{record}}); err != nil {
		return wire.Token{}, err
	}
	return wire.Token{
		Schema: "attestd.enrolment-token.v1", ID: id, Tenant: token.Tenant, ExpiresAt: token.ExpiresAt,
		Token: "attestd-enrol-" + id + "-" + base64.RawURLEncoding.EncodeToString(drawn[8:]),
	}, nil
}

func checkTokenRequest(ask wire.TokenRequest) error {
	const hint = "attestd enroll token --tenant NAME --format tpm --lifetime 1h"
	if ask.Seconds < minTokenLife || ask.Seconds > maxTokenLife {
		return malformed(hint, "life of a token: got %d s, want %d to %d", ask.Seconds, minTokenLife,
			maxTokenLife)
	}
	if len(ask.Formats) == 0 {
		return malformed(hint, "no format: a token says which evidence it is for")
	}
	for i, name := range ask.Formats {
		if _, err := attestd.ParseFormat(name); err != nil {
			return malformed(hint, "%q is no format", attestd.Excerpt(name, 40))
		}
		if slices.Contains(ask.Formats[:i], name) {
			return malformed(hint, "format %s stands twice", name)
		}
	}
	return checkLabel(ask.Label)
}

// Redemption is what a valid token makes of a machine. Use, Owner and Audit are for the transaction
// that stores the verdict: there the token is used up, and of two that hand it in at once one fails.
type Redemption struct {
	Use     subject.TokenUse
	Owner   subject.OwnershipWrite
	Audit   audit.Record
	Settled Settlement
}

// Redeem reads the token that came with a submission. Only a machine whose evidence was found
// authentic and fresh may hand one in, and settled must be what [Desk.Settle] said of it. A machine
// that is the tenant's already keeps what it has: nil, and the token is not even looked at, so that
// one in a configuration file does no harm at the next start.
//
// Errors: a [*attestd.CallerError] of class UNAUTHENTICATED for a token that is unknown, used, expired
// or for something else (all alike: the caller is not to learn which), FORBIDDEN for a machine that no
// token can enrol; what the store says.
func (d *Desk) Redeem(
	ctx context.Context, machine Machine, settled Settlement, token string,
) (*Redemption, error) {
	switch settled.Standing {
	case StandingOwned:
		return nil, nil //nolint:nilnil // documented: nothing to do is no error
	case StandingNone, StandingPending, StandingExpired:
	default:
		return nil, errUnenrollable()
	}
	key, ok := machine.Instance()
	if !ok {
		return nil, errUnenrollable()
	}
	kept, digest, err := d.tokenOf(ctx, token)
	if err != nil {
		return nil, err
	}
	now := d.now()
	if !kept.UsedAt.IsZero() || !now.Before(kept.ExpiresAt) || kept.Tenant != machine.Tenant ||
		!d.known(kept.Tenant) || !slices.Contains(kept.Formats, string(machine.Format)) {
		return nil, errToken()
	}
	next := subject.Ownership{
		Key: key, Tenant: kept.Tenant, Method: subject.MethodEnrolment, Status: subject.StatusApproved,
		Label: kept.Label, Source: "token:" + kept.ID, Format: string(machine.Format), By: kept.By,
		CreatedAt: now, DecidedAt: now,
	}
	after := Settlement{Standing: StandingOwned, Owner: next, instance: next}
	for _, expect := range settled.Expect {
		if expect.Key != key { // that one is written, by its generation
			after.Expect = append(after.Expect, expect)
		}
	}
	return &Redemption{
		Use:     subject.TokenUse{ID: kept.ID, Secret: digest, By: key},
		Owner:   subject.OwnershipWrite{Key: key, Expect: settled.instance.Generation, Next: &next},
		Settled: after,
		Audit: audit.Record{
			At: now, Actor: "source:" + machine.Source, Via: operator.ViaToken, Tenant: kept.Tenant,
			Action: "enroll.redeem", Target: key.String(), Outcome: outcomeDone,
			Detail: map[string]string{"token": kept.ID, "token_by": kept.By},
		},
	}, nil
}

// tokenOf looks a token up. The secret is compared in constant time, and by its digest: the registry
// holds nothing that could be handed in.
func (d *Desk) tokenOf(ctx context.Context, text string) (kept subject.Token, digest [32]byte, err error) {
	parts := tokenForm.FindStringSubmatch(text)
	if parts == nil {
		return kept, digest, errToken()
	}
	secret, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil {
		return kept, digest, errToken()
	}
	digest = sha256.Sum256(secret)
	kept, found, err := d.store.Token(ctx, parts[1])
	if err != nil {
		return kept, digest, err
	}
	if subtle.ConstantTimeCompare(kept.Secret[:], digest[:]) != 1 || !found || kept.ID != parts[1] {
		return kept, digest, errToken()
	}
	return kept, digest, nil
}

// errToken is the refusal of every token that will not do, whatever the cause.
func errToken() error {
	return &attestd.CallerError{
		Class: attestd.ClassUnauthenticated,
		Hint:  "ask an operator for a new one: attestd enroll token",
		Err:   errors.New("the enrolment token is unknown, used, expired or not for this machine"),
	}
}

// errUnenrollable is the refusal of a machine that no token makes ours.
func errUnenrollable() error {
	return &attestd.CallerError{
		Class: attestd.ClassForbidden,
		Hint:  "ask an operator: attestd enroll ls",
		Err:   errors.New("no token can enrol this machine"),
	}
}
