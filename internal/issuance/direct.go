package issuance

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// Paths of identities without an agent. The first is the only one that SPIRE's policy lets attestd
// mint below.
const (
	enclavePath = "/enclave/"
	directPath  = "/attestd/direct/"
)

// heldPrefix begins the value of the selector that marks an entry as held
// (internal/spire/controller).
const heldPrefix = "held:"

// mostDirect is how long anything lives that is issued without an agent: nothing can shorten it
// later.
const mostDirect = 5 * time.Minute

// Holder is whoever gave accepted evidence that binds a key, to be issued an identity without an
// agent. Only [Office.Holder] makes one.
type Holder struct {
	standing  live.Standing
	shown     facts
	selectors []wire.Selector
	key       [sha256.Size]byte
}

// Selectors are what an entry may demand of the holder, as SPIRE writes them.
func (h *Holder) Selectors() []string {
	out := make([]string, len(h.selectors))
	for i, one := range h.selectors {
		out[i] = one.Type + ":" + one.Value
	}
	return out
}

// CheckKey refuses keys that nothing is issued for, before anything is computed with them.
//
// Errors: a [*attestd.CallerError] of class TOO_LARGE, MALFORMED or KEY_PROPERTIES.
func CheckKey(spki []byte) error {
	var caller *attestd.CallerError
	if err := checkKey(spki); errors.As(err, &caller) {
		return &attestd.CallerError{
			Class: caller.Class, Err: caller.Err,
			Hint: "use a key on P-256 or P-384, or RSA with 2048 to 4096 bits",
		}
	}
	return nil
}

// Holder says who it is that gave evidence for the key, and what it shows. Format and tenant are
// those that the verdict must be about.
//
// Errors: as of [Office.Finish].
func (o *Office) Holder(
	given attestd.Appraisal, format attestd.Format, tenant string, spki []byte,
) (*Holder, error) {
	if err := CheckKey(spki); err != nil {
		return nil, err
	}
	id, err := o.accepted(wire.NodeFinish{Format: format, Tenant: tenant}, given)
	if err != nil {
		return nil, err
	}
	standing := o.config.Index.Check(id, o.config.Now())
	if !standing.Grants() || standing.Tenant != tenant {
		return nil, refusal(standing)
	}
	h := &Holder{standing: standing, key: sha256.Sum256(spki)}
	h.shown = factsOf(given, h.key)
	for _, value := range selectors(standing, h.shown) {
		h.selectors = append(h.selectors, wire.Selector{Type: pluginType, Value: value})
	}
	return h, nil
}

// Direct is an identity that a holder can be issued.
type Direct struct {
	id     string
	holder *Holder
	// x509 and jwt are the lifetimes that its entries ask for; 0 for none.
	x509, jwt time.Duration
}

// ID is its SPIFFE ID.
func (d *Direct) ID() string { return d.id }

// Direct finds the identity of a holder: an entry of SPIRE's, as it is now, whose parent is that of
// the tenant's identities without an agent, whose id lies below the tenant's path, and whose
// selectors the evidence shows, every one. wanted is empty where there is one alone.
//
// Errors: a [*attestd.CallerError] of class POLICY_DENY where there is none or there are several,
// of class QUARANTINED or REVOKED_SUBJECT where the id is held; an [*attestd.UndecidedError] where
// SPIRE cannot be asked.
func (o *Office) Direct(ctx context.Context, h *Holder, wanted string) (*Direct, error) {
	if wanted == "" {
		var err error
		if wanted, err = o.onlyDirect(h); err != nil {
			return nil, err
		}
	}
	if err := o.checkDirect(h, wanted); err != nil {
		return nil, err
	}
	// The map can be older than the entry, or than its end.
	ctx, cancel := context.WithTimeout(ctx, refreshWithin)
	defer cancel()
	now, err := o.config.Refresh(ctx, []string{wanted})
	if err != nil {
		return nil, undecided("spire/entries", "the controller does not answer", err)
	}
	return o.pick(h, wanted, now.Entries)
}

// checkDirect checks that the id is one that the holder's tenant can have.
func (o *Office) checkDirect(h *Holder, id string) error {
	who, err := o.parse(id)
	if err != nil {
		return err
	}
	prefix := enclavePath + h.standing.Tenant + "/"
	if !strings.HasPrefix(who.path, prefix) || who.path == prefix {
		return denied("ask for one below "+prefix,
			"%s is no identity of tenant %s without an agent", attestd.Excerpt(id, 200), attestd.Excerpt(h.standing.Tenant, 40))
	}
	// Who is held is told so, whatever SPIRE's entries say.
	if own := o.config.Index.Check(who.id, o.config.Now()); subject.Barred(own.State) {
		return refusal(own)
	}
	return nil
}

// onlyDirect is the one id that the holder's evidence is good for, as far as the last map says.
func (o *Office) onlyDirect(h *Holder) (string, error) {
	s := &o.spread
	s.mu.RLock()
	atlas := s.atlas
	s.mu.RUnlock()
	if atlas == nil || o.config.Now().Sub(*atlas.arrived.Load()) >= o.config.Lifetimes.Map {
		return "", undecided("spire/entries", "SPIRE's entries are not known", errors.New("no map"))
	}
	var ids []string
	for _, entry := range atlas.direct[o.parentOf(h)] {
		if h.matches(entry) && !slices.Contains(ids, entry.SPIFFEID) {
			ids = append(ids, entry.SPIFFEID)
		}
	}
	switch len(ids) {
	case 0:
		return "", o.noEntry(h, "")
	case 1:
		return ids[0], nil
	default:
		slices.Sort(ids)
		return "", denied("name one as spiffe_id: "+attestd.Excerpt(strings.Join(ids, ", "), 300),
			"the evidence is good for %d identities", len(ids))
	}
}

func (o *Office) parentOf(h *Holder) string {
	return "spiffe://" + o.config.TrustDomain + directPath + h.standing.Tenant
}

// matches reports whether the holder shows every selector of an entry, a hold's mark apart. One
// without selectors asks for nothing, and is nobody's.
func (h *Holder) matches(entry wire.Entry) bool {
	wanted := unmarked(entry)
	return len(wanted) != 0 && hasAll(h.selectors, wanted)
}

func held(one wire.Selector) bool {
	return one.Type == pluginType && strings.HasPrefix(one.Value, heldPrefix)
}

func unmarked(entry wire.Entry) []wire.Selector {
	return slices.DeleteFunc(slices.Clone(entry.Selectors), held)
}

// pick reads the entries of the id that are the holder's.
func (o *Office) pick(h *Holder, id string, entries []wire.Entry) (*Direct, error) {
	out := &Direct{id: id, holder: h}
	found, marked := 0, false
	for _, entry := range entries {
		if entry.SPIFFEID != id {
			continue
		}
		// An administrator of SPIRE's, or a server below it, is nobody's to become by evidence: attestd
		// would mint its own controller more rights than it has. To SPIRE whoever has the id is what
		// any entry of it says, also one of another parent (pkg/server/endpoints/middleware.go).
		if entry.Admin || entry.Downstream {
			return nil, denied("take -admin and -downstream from the entries of that id, or name another",
				"%s is an administrator of SPIRE's or a server below it", attestd.Excerpt(id, 200))
		}
		if entry.ParentID != o.parentOf(h) || !h.matches(entry) ||
			entry.Expires != 0 && entry.Expires <= o.config.Now().Unix() {
			continue
		}
		if slices.ContainsFunc(entry.Selectors, held) {
			marked = true
			continue
		}
		found++
		out.x509 = least(out.x509, entry.X509TTL)
		out.jwt = least(out.jwt, entry.JWTTTL)
	}
	switch {
	case found != 0:
		return out, nil
	case marked:
		return nil, denied(
			"wait until the release has reached SPIRE; attestd why "+attestd.Excerpt(id, 200),
			"the entry of %s is held", attestd.Excerpt(id, 200))
	default:
		return nil, o.noEntry(h, id)
	}
}

// least is the shorter of two lifetimes, of which 0 says nothing.
func least(so time.Duration, seconds int) time.Duration {
	if seconds <= 0 {
		return so
	}
	if next := time.Duration(seconds32(seconds)) * time.Second; so == 0 || next < so {
		return next
	}
	return so
}

// noEntry says which entry there would have to be.
func (o *Office) noEntry(h *Holder, id string) error {
	if id == "" {
		id = "spiffe://" + o.config.TrustDomain + enclavePath + h.standing.Tenant + "/NAME"
	}
	command := "spire-server entry create -parentID " + o.parentOf(h) + " -spiffeID " + id +
		" -selector " + pluginType + ":format:" + word(string(h.standing.Format))
	if h.shown.measurement != "" {
		command += " -selector " + pluginType + ":measurement:" + word(h.shown.measurement)
	}
	return denied(command, "SPIRE has no entry whose selectors the evidence shows: %s",
		strings.Join(h.Selectors(), " "))
}

// Admit lets SPIRE mint one credential of the identity, for as long as it says and for a minute at
// most: an X509-SVID over the holder's key, or a JWT-SVID for the audience with these claims.
// Whoever asked must withdraw what is left of it as soon as SPIRE has answered.
//
// Errors: as of [Office.Ticket]; of class POLICY_DENY where the evidence is due.
func (o *Office) Admit(d *Direct, audience []string, claims map[string]any) (
	lifetime time.Duration, withdraw func(), err error,
) {
	lives, now := &o.config.Lifetimes, o.config.Now()
	most, entry, key := lives.X509, d.x509, d.holder.key[:]
	if len(audience) != 0 {
		most, entry, key = lives.JWT[d.holder.standing.Tier], d.jwt, nil
	}
	lifetime = min(mostDirect, most, d.holder.standing.DueAt.Add(lives.Grace).Sub(now))
	if entry > 0 {
		lifetime = min(lifetime, entry)
	}
	if lifetime = lifetime.Truncate(time.Second); lifetime < time.Second {
		return 0, nil, denied("give fresh evidence", "the evidence is due now")
	}
	one, id, err := o.newTicket(d.holder.standing.ID, d.id, key, audience, maps.Clone(claims))
	if err != nil {
		return 0, nil, err
	}
	one.shown, one.x509 = &d.holder.shown, whole(lifetime)
	if err := o.tickets.add(id, one, now); err != nil {
		return 0, nil, fmt.Errorf("ticket: %w", err)
	}
	return lifetime, func() { o.tickets.withdraw(id, one) }, nil
}

// withdraw ends a ticket, and those that are for the same.
func (t *tickets) withdraw(id subject.ID, one ticket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ids[id] = slices.DeleteFunc(slices.Clone(t.ids[id]), func(other ticket) bool {
		return other.node == one.node && other.key == one.key &&
			slices.Equal(other.audience, one.audience)
	})
	if len(t.ids[id]) == 0 {
		delete(t.ids, id)
	}
}

// Admits says whether the identity is still granted to its holder.
//
// Errors: a [*attestd.CallerError] where it is not.
func (o *Office) Admits(d *Direct) error {
	now := o.config.Now()
	if own := o.config.Index.Check(subject.ID(d.id), now); subject.Barred(own.State) {
		return refusal(own)
	}
	if standing := o.config.Index.Check(d.holder.standing.ID, now); !standing.Grants() {
		return refusal(standing)
	}
	return nil
}
