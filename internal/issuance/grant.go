package issuance

import (
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// Bounds of a JWT-SVID's audiences.
const (
	maxAudiences = 64
	maxAudience  = 1 << 10
)

// Grant says whether a credential may be issued now, and counts it where it may.
//
// Errors: a [*attestd.CallerError] of class QUARANTINED, REVOKED_SUBJECT or POLICY_DENY where it may
// not, and of class MALFORMED or FORBIDDEN for what nobody is granted; an [*attestd.UndecidedError]
// where attestd cannot tell.
func (o *Office) Grant(ctx context.Context, ask wire.GrantRequest) (wire.Granted, error) {
	who, err := o.parse(ask.ID)
	if err != nil {
		return wire.Granted{}, err
	}
	now := o.config.Now()
	if err := checkRequest(ask, now); err != nil {
		return wire.Granted{}, err
	}
	if (ask.Kind == wire.GrantAgentX509) != who.agent() {
		return wire.Granted{}, malformed("see the kinds of grants", "%q is not for %s", ask.Kind,
			attestd.Excerpt(ask.ID, 80))
	}
	g := &grant{office: o, ask: ask, who: who, now: now}
	switch {
	case who.agent():
		err = g.agent()
	case g.canary(): // it says that nothing was attested, and rests on nobody
		g.said.close(true)
		g.expires = min(ask.ExpiresAt, now.Add(o.config.Lifetimes.JWT[attestd.TierUnknown]).Unix())
	case who.under(o.config.AttestedOnly):
		err = g.direct()
	default:
		if err = g.workload(ctx); err == nil && g.said.attested {
			o.holdovers.trust(ask.ID, now)
		}
	}
	if err != nil {
		g.note(ctx, err)
		return wire.Granted{}, err
	}
	return g.answer()
}

// note says in the audit log that something was refused. SPIRE asks for what it is denied twice a
// second and without end; alike records are folded.
func (g *grant) note(ctx context.Context, err error) {
	o := g.office
	var refused *attestd.CallerError
	if !errors.As(err, &refused) {
		o.config.Logger.WarnContext(ctx, "no answer for SPIRE",
			"subject", attestd.Excerpt(g.ask.ID, 200), "err", attestd.Excerpt(err.Error(), 200))
		return
	}
	tenant := o.config.Index.Check(g.who.id, g.now).Tenant
	if tenant == "" {
		tenant = subject.Shared
	}
	o.config.Notes.Note(audit.Record{
		At: g.now, Actor: "spire", Tenant: tenant, Action: "issue", Target: string(g.who.id),
		Outcome: "refused", Class: string(refused.Class), Detail: map[string]string{"kind": g.ask.Kind},
	})
}

// checkRequest refuses what asks for something that there is not.
func checkRequest(ask wire.GrantRequest, now time.Time) error {
	switch ask.Kind {
	case wire.GrantAgentX509, wire.GrantWorkloadX509:
		if len(ask.KeySHA256) != sha256.Size || len(ask.Audience) != 0 || ask.ExpiresAt != 0 {
			return malformed("give key_sha256 alone", "an X.509-SVID has one key and no audience")
		}
	case wire.GrantWorkloadJWT:
		if len(ask.KeySHA256) != 0 || len(ask.Audience) == 0 || len(ask.Audience) > maxAudiences {
			return malformed("give audience and expires_at alone", "a JWT-SVID has 1 to %d audiences",
				maxAudiences)
		}
		for _, one := range ask.Audience {
			if one == "" || len(one) > maxAudience {
				return malformed("give each audience its name", "an audience has %d bytes, want 1 to %d",
					len(one), maxAudience)
			}
		}
		if ask.ExpiresAt <= now.Unix() {
			return malformed("look at the clocks of both hosts", "a JWT-SVID that ends before it begins")
		}
	default:
		return malformed("see the kinds of grants", "unknown kind %q", attestd.Excerpt(ask.Kind, 40))
	}
	return nil
}

// grant is one question on its way.
type grant struct {
	office *Office
	ask    wire.GrantRequest
	who    name
	now    time.Time

	said    statement
	expires int64
	claims  map[string]any
	// spread is who can obtain a workload's id.
	spread *reach
}

// agent grants an agent's own SVID.
func (g *grant) agent() error {
	o := g.office
	if !g.who.ours() {
		if err := o.config.Index.GrantOn(g.who.id, nil, g.now, g.stranger); err != nil {
			return err
		}
		o.learned.saw(g.who.id, g.now)
		return nil
	}
	_, found := o.tickets.agent(g.who.id, g.ask.KeySHA256, g.now)
	if !found {
		// Which of the two it is helps nobody who is honest: a new attestation mends both.
		return denied("the agent attests again by itself; attestd why "+attestd.Excerpt(g.ask.ID, 200),
			"no evidence of the last minute binds this key")
	}
	return o.config.Index.GrantOn(g.who.id, nil, g.now, func(own live.Standing, _ []live.Standing) (
		int, error,
	) {
		if !own.Grants() {
			return 0, refusal(own)
		}
		g.said.add(own, o.learned.of(own.ID))
		g.said.close(false)
		return whole(o.config.Lifetimes.Agent), nil
	})
}

// stranger decides about the agent of another attestor.
func (g *grant) stranger(own live.Standing, _ []live.Standing) (int, error) {
	if subject.Barred(own.State) {
		return 0, refusal(own)
	}
	if g.office.config.Unattested != Observe {
		return 0, errUnattested(g.ask.ID)
	}
	g.said.close(true)
	return whole(g.office.config.Lifetimes.Agent), nil
}

func errUnattested(id string) error {
	return denied("let the node attest itself with the plugin attestd, or set unattested: observe",
		"no node that %s is issued to was attested by attestd", attestd.Excerpt(id, 200))
}

// direct grants what is issued for evidence alone, without an agent.
func (g *grant) direct() error {
	o := g.office
	one, found := o.tickets.direct(g.who.id, g.ask.KeySHA256, g.ask.Audience, g.now)
	if !found {
		return denied("ask POST /v1/svid, with evidence that binds the key",
			"%s is issued for evidence alone", attestd.Excerpt(g.ask.ID, 200))
	}
	g.claims = one.claims
	return o.config.Index.GrantOn(g.who.id, []subject.ID{one.node}, g.now, func(
		own live.Standing, nodes []live.Standing,
	) (int, error) {
		if subject.Barred(own.State) {
			return 0, refusal(own)
		}
		if !nodes[0].Grants() {
			return 0, refusal(nodes[0])
		}
		shown, lives := o.learned.of(nodes[0].ID), whole(o.config.Lifetimes.MaxX509)
		if one.shown != nil {
			shown, lives = *one.shown, one.x509
		}
		g.said.add(nodes[0], shown)
		g.said.close(false)
		return g.seconds(lives)
	})
}

// workload grants what runs on agents' nodes.
func (g *grant) workload(ctx context.Context) error {
	o := g.office
	var err error
	if g.spread, err = o.reach(ctx, string(g.who.id)); err != nil {
		return err
	}
	return g.onNodes(g.decide, func(*live.Group) (int, error) { return g.seconds(g.x509()) })
}

// onNodes grants an id on the nodes of its spread: where they are few as decide says of each of them, and
// where they are many, and a statement of them is made already, for as long as finish says.
func (g *grant) onNodes(decide live.Decide, finish func(*live.Group) (int, error)) error {
	o := g.office
	nodes := g.spread.nodes
	if len(nodes) <= many {
		nodes = o.learned.nodes(g.spread)
	}
	if len(nodes) > many {
		one := &among{grant: g, joint: g.spread.joint, finish: finish}
		if err := one.onMany(); !errors.Is(err, errMany) {
			return err
		}
		// One at a time: it holds up whoever wants to hold something.
		g.spread.joint.looking.Lock()
		defer g.spread.joint.looking.Unlock()
		nodes = o.learned.nodes(g.spread)
	}
	return o.config.Index.GrantOn(g.who.id, nodes, g.now, decide)
}

// decide is the rule for workloads. It runs under the index's locks.
func (g *grant) decide(own live.Standing, nodes []live.Standing) (int, error) {
	o := g.office
	if subject.Barred(own.State) {
		return 0, refusal(own)
	}
	left := len(g.spread.banned) != 0 // there is a node, and it may not
	others := false
	for i, node := range nodes {
		asks := i >= len(g.spread.nodes) || g.spread.lives(i, g.now) || o.learned.recent(node.ID)
		switch {
		case node.Grants() && asks:
			g.said.add(node, o.learned.of(node.ID))
		case node.Grants(): // no agent of SPIRE's: it obtains nothing, and speaks for nobody
		case subject.Barred(node.State), node.Known && node.Format != "":
			left = true // held, or attested and not good enough now
		default:
			others = others || asks
		}
	}
	if err := g.rests(left, others); err != nil {
		return 0, err
	}
	return g.seconds(g.x509())
}

// rests says whether an id is issued on the nodes that were taken into the statement, and ends it. Left
// says that there is one that may not, others that one obtains the id that nobody attested.
func (g *grant) rests(left, others bool) error {
	if g.said.n == 0 && left {
		return denied("attestd why "+attestd.Excerpt(g.ask.ID, 200),
			"no node that %s runs on is granted anything now", attestd.Excerpt(g.ask.ID, 200))
	}
	if g.said.n == 0 && g.office.config.Unattested != Observe {
		return errUnattested(g.ask.ID)
	}
	g.said.close(others)
	return nil
}

// x509 is the longest that an X.509-SVID of the id can live. What SPIRE has no entry of is minted by a
// person, for as long as they like.
func (g *grant) x509() int {
	lives := &g.office.config.Lifetimes
	if !g.spread.known {
		return whole(lives.MaxX509)
	}
	return max(g.spread.x509, whole(lives.X509))
}

// seconds says how long what is issued can live, and cuts a JWT-SVID to what its risk and the nodes'
// evidence are good for.
func (g *grant) seconds(x509 int) (int, error) {
	lives := &g.office.config.Lifetimes
	if g.ask.Kind != wire.GrantWorkloadJWT {
		if x509 > whole(lives.MaxX509) {
			return 0, denied("lower x509_svid_ttl of its entries",
				"%s asks for %d seconds, want at most %d", attestd.Excerpt(g.ask.ID, 200), x509, whole(lives.MaxX509))
		}
		return x509, nil
	}
	ends := g.now.Add(lives.JWT[g.said.tier])
	if !g.said.due.IsZero() {
		if due := g.said.due.Add(lives.Grace); due.Before(ends) {
			ends = due
		}
	}
	g.expires = min(g.ask.ExpiresAt, ends.Unix())
	left := g.expires - g.now.Unix()
	if left < 1 {
		return 0, denied("the node attests again by itself", "evidence is due now")
	}
	return int(left), nil
}

func whole(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// answer says what to put into the credential.
func (g *grant) answer() (wire.Granted, error) {
	risk := g.office.tells(g.ask.Audience)
	if g.ask.Kind == wire.GrantWorkloadJWT {
		claims := g.said.claims(risk)
		maps.Copy(claims, g.claims)
		return wire.Granted{Claims: claims, ExpiresAt: g.expires}, nil
	}
	der, err := g.said.extension(risk)
	if err != nil {
		return wire.Granted{}, err
	}
	return wire.Granted{ExtensionOID: g.office.config.ExtensionOID, Extension: der}, nil
}
