package issuance

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// Office answers for attestd what SPIRE may issue. It is safe for concurrent use.
type Office struct {
	config      Config
	snapshotKey ed25519.PublicKey
	tickets     tickets
	learned     learned
	spread      spread
	orders      orders
	holdovers   *holdovers
	// stood are standings that were asked for (Stands).
	stood *lru.Cache[subject.ID, stood]
}

// New returns an office.
//
// Errors: a [*attestd.CallerError] of class CONFIG that names every field that will not do.
func New(config Config) (*Office, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	config.AttestedOnly = slices.Clone(config.AttestedOnly)
	config.Audiences = slices.Clone(config.Audiences)
	config.Addresses = slices.Clone(config.Addresses)
	config.Lifetimes.JWT = maps.Clone(config.Lifetimes.JWT)
	public, _ := config.SnapshotKey.Public().(ed25519.PublicKey)
	seen, err := lru.New[subject.ID, stood](maxStood)
	if err != nil {
		return nil, err
	}
	return &Office{
		stood:  seen,
		config: config, snapshotKey: public, tickets: newTickets(), learned: newLearned(),
		spread: newSpread(), holdovers: newHoldovers(config.Degraded),
	}, nil
}

// Recall takes in what a node's latest accepted evidence showed, after a restart: keySPKI is the key
// that it bound by digest, zero for none.
func (o *Office) Recall(id subject.ID, key [sha256.Size]byte, given attestd.Appraisal) {
	o.learned.remember(id, factsOf(given, key))
}

// Allow reports whether a call of the agent may pass SPIRE's gate. It answers from memory; whatever is
// odd may not.
func (o *Office) Allow(callerID string) bool {
	who, err := o.parse(callerID)
	if err != nil || !who.agent() {
		return false
	}
	standing := o.config.Index.Check(who.id, o.config.Now())
	if who.ours() {
		return standing.Grants()
	}
	return o.config.Unattested == Observe && !subject.Barred(standing.State) && standing.Barred == "" &&
		!o.config.Index.Since().IsZero()
}

// Ticket lets one credential of an id in a path that is attested only be issued, within a minute: for
// a key by its SHA-256, or for exactly these audiences and once. node is the subject whose evidence
// bound the key; it must be granted identities when the credential is issued, and the grant is counted
// against it too. claims go into a JWT-SVID beside attestd's own.
//
// Errors: a [*attestd.CallerError].
func (o *Office) Ticket(
	node subject.ID, id string, keySHA256 []byte, audience []string, claims map[string]any,
) error {
	one, who, err := o.newTicket(node, id, keySHA256, audience, claims)
	if err != nil {
		return err
	}
	err = o.tickets.add(who, one, o.config.Now())
	if errors.Is(err, errRatchet) {
		return fmt.Errorf("ticket: %w", err) // those are for agents
	}
	return err
}

// newTicket makes the ticket of [Office.Ticket].
func (o *Office) newTicket(
	node subject.ID, id string, keySHA256 []byte, audience []string, claims map[string]any,
) (ticket, subject.ID, error) {
	who, err := o.parse(id)
	if err != nil {
		return ticket{}, "", err
	}
	if _, err := o.parse(string(node)); err != nil {
		return ticket{}, "", err
	}
	if !who.under(o.config.AttestedOnly) || who.agent() {
		return ticket{}, "", denied("see spire.attested_only", "%s is issued to agents",
			attestd.Excerpt(id, 200))
	}
	for claim := range claims {
		if reserved(claim) {
			return ticket{}, "", malformed("leave it out", "claim %q is attestd's or SPIRE's",
				attestd.Excerpt(claim, 40))
		}
	}
	now := o.config.Now()
	ask := wire.GrantRequest{
		Kind: wire.GrantWorkloadX509, KeySHA256: keySHA256, Audience: audience,
	}
	if len(audience) != 0 {
		ask.Kind, ask.ExpiresAt = wire.GrantWorkloadJWT, now.Unix()+1
	}
	if err := checkRequest(ask, now); err != nil {
		return ticket{}, "", err
	}
	one := ticket{node: node, ends: now.Add(ticketLife), claims: maps.Clone(claims)}
	if len(audience) == 0 {
		one.key = [sha256.Size]byte(keySHA256)
	} else {
		one.audience = slices.Sorted(slices.Values(audience))
	}
	return one, who.id, nil
}
