package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/keys"
)

// mostSigned is how many tokens an answer about a compromise lists; the ledger has the rest.
const mostSigned = 10_000

// keyOffice answers operators about the keys that attestd signs with for others.
type keyOffice struct{ rings []*keys.Ring }

func (o keyOffice) ring(purpose string) (*keys.Ring, error) {
	for _, ring := range o.rings {
		if string(ring.Purpose()) == purpose {
			return ring, nil
		}
	}
	return nil, &attestd.CallerError{
		Class: attestd.ClassMalformed, Hint: "attestd keys ls has the purposes",
		Err: fmt.Errorf("nothing is signed for the purpose %q", attestd.Excerpt(purpose, 40)),
	}
}

func shownKey(purpose keys.Purpose, key keys.Key) wire.Key {
	return wire.Key{
		ID: key.ID, Purpose: string(purpose), State: string(key.State), PublishedAt: key.PublishedAt,
		ActiveAt: key.ActiveAt, EndedAt: key.EndedAt, PublishedUntil: key.PublishedUntil, Reason: key.Reason,
	}
}

// Keys lists all of them.
func (o keyOffice) Keys(context.Context) wire.Keys {
	document := wire.Keys{Schema: "attestd.keys.v1", Keys: []wire.Key{}}
	for _, ring := range o.rings {
		for _, key := range ring.List() {
			document.Keys = append(document.Keys, shownKey(ring.Purpose(), key))
		}
	}
	return document
}

// Rotate lets the next key of a purpose sign.
func (o keyOffice) Rotate(ctx context.Context, purpose string) (wire.KeyRotated, error) {
	ring, err := o.ring(purpose)
	if err != nil {
		return wire.KeyRotated{}, err
	}
	done, err := ring.Rotate(ctx)
	if err != nil {
		return wire.KeyRotated{}, err
	}
	return wire.KeyRotated{
		Schema: "attestd.key-rotated.v1", Active: shownKey(ring.Purpose(), done.Active),
		Next: shownKey(ring.Purpose(), done.Next), Before: shownKey(ring.Purpose(), done.Before),
	}, nil
}

// Compromise withdraws a key. Where it was withdrawn and something else failed, the error says so.
func (o keyOffice) Compromise(ctx context.Context, ask wire.KeyCompromise) (wire.KeyCompromised, error) {
	ring, err := o.ring(ask.Purpose)
	if err != nil {
		return wire.KeyCompromised{}, err
	}
	done, err := ring.Compromise(ctx, ask.ID, ask.Reason, ask.Since, mostSigned)
	if err != nil {
		return wire.KeyCompromised{}, compromised(done, err)
	}
	document := wire.KeyCompromised{
		Schema: "attestd.key-compromised.v1", Withdrawn: []wire.Key{}, BelievedUntil: done.BelievedUntil,
		Active: shownKey(ring.Purpose(), done.Active), Next: shownKey(ring.Purpose(), done.Next),
		Signed: []wire.SignedToken{}, Total: done.Total, KnownSince: done.KnownSince,
	}
	for _, key := range done.Withdrawn {
		document.Withdrawn = append(document.Withdrawn, shownKey(ring.Purpose(), key))
	}
	for _, one := range done.Signed {
		token := wire.SignedToken{ID: uuid.UUID(one.ID).String(), At: one.At, ExpiresAt: one.ExpiresAt}
		if one.About != [16]byte{} {
			token.Appraisal = uuid.UUID(one.About).String()
		}
		document.Signed = append(document.Signed, token)
	}
	return document, nil
}

// compromised says of a failure whether the key is believed all the same.
func compromised(done keys.Compromise, err error) error {
	var caller *attestd.CallerError
	if errors.As(err, &caller) || len(done.Withdrawn) == 0 {
		return err
	}
	return &attestd.UndecidedError{
		Check: keys.CheckSigner, Class: attestd.ClassStoreUnavailable,
		Got: "the key is withdrawn as long as attestd runs, and that is not on disk", Want: "both",
		Hint: "give the disk room and ask again, before attestd is restarted", Err: err,
	}
}

// rings are those of all purposes that keys are rotated and withdrawn by.
func (p *parts) rings() []*keys.Ring {
	if p.decisions.ring == nil {
		return []*keys.Ring{p.ring}
	}
	return []*keys.Ring{p.ring, p.decisions.ring}
}
