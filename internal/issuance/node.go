package issuance

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// Purpose of the challenges that nodes answer. Evidence that was given for anything else attests no
// node.
const Purpose = "node-attestation"

// Begin asks for a challenge for a node. source is where the request came from, for the limits.
//
// Errors: a [*attestd.CallerError] or an [*attestd.UndecidedError].
func (o *Office) Begin(
	ctx context.Context, ask wire.NodeBegin, source string,
) (wire.NodeChallenge, error) {
	reply, err := o.config.Verifier.Challenge(ctx, service.Wish{
		Wish: challenge.Wish{
			Format: ask.Format, Tenant: ask.Tenant, Purpose: Purpose, Source: source,
		},
		AttestationKey: ask.AttestationKey, EndorsementKey: ask.EndorsementKey,
	})
	if err != nil {
		return wire.NodeChallenge{}, err
	}
	document, err := json.Marshal(reply)
	if err != nil {
		return wire.NodeChallenge{}, fmt.Errorf("challenge: %w", err)
	}
	return wire.NodeChallenge{Challenge: document, Keys: o.config.Keys}, nil
}

// Finish judges a node's evidence. Who the node is, whose and how it stands comes from what was
// verified and from the registry; of the request nothing but the key goes further, and that was bound.
//
// Errors: a [*Rejected]; a [*attestd.CallerError], of class QUARANTINED, REVOKED_SUBJECT or
// POLICY_DENY for a node that is granted nothing; an [*attestd.UndecidedError] where attestd cannot
// tell.
func (o *Office) Finish(
	ctx context.Context, ask wire.NodeFinish, source string,
) (wire.NodeVerdict, error) {
	bound := len(ask.KeySPKI) != 0
	if bound {
		if err := checkKey(ask.KeySPKI); err != nil {
			return wire.NodeVerdict{}, err
		}
	} else if o.config.Unbound == Refuse {
		return wire.NodeVerdict{}, unbound(errors.New("the evidence binds no key of the agent"))
	}
	given, err := o.config.Verifier.Verify(ctx, service.Submission{
		ChallengeID: ask.ChallengeID, Tenant: ask.Tenant, Purpose: Purpose, Format: ask.Format,
		Evidence: ask.Evidence, Endorsements: ask.Endorsements, Freshness: attestd.FreshnessBinding,
		KeySPKI: ask.KeySPKI, ActivationSecret: ask.ActivationSecret,
		EnrolmentToken: ask.EnrolmentToken, Source: source,
	})
	if err != nil {
		return wire.NodeVerdict{}, err
	}
	id, err := o.accepted(ask, given)
	if err != nil {
		return wire.NodeVerdict{}, err
	}
	now := o.config.Now()
	standing := o.config.Index.Check(id, now)
	if !standing.Grants() || standing.Tenant != ask.Tenant {
		return wire.NodeVerdict{}, refusal(standing)
	}
	var key [sha256.Size]byte
	if bound {
		key = sha256.Sum256(ask.KeySPKI)
	}
	shown := factsOf(given, key)
	if err := o.ticketFor(ctx, id, key); err != nil {
		return wire.NodeVerdict{}, err
	}
	verdict := wire.NodeVerdict{
		AgentID: string(id), Selectors: selectors(standing, shown), AppraisalID: given.ID,
		Grade: shown.grade,
	}
	if bound {
		if verdict.Enlist, err = o.enlist(id, ask.KeySPKI); err != nil {
			return wire.NodeVerdict{}, err
		}
	}
	o.learned.learn(id, shown, verdict.Selectors, o.listed(string(id)), now)
	return verdict, nil
}

// accepted returns the id that the registry has for accepted evidence.
func (o *Office) accepted(ask wire.NodeFinish, given attestd.Appraisal) (subject.ID, error) {
	switch given.Verdict {
	case attestd.VerdictAccepted:
	case attestd.VerdictRejected:
		return "", &Rejected{AppraisalID: given.ID}
	default:
		return "", undecided("spire/verdict", "no verdict", errors.New("appraisal "+given.ID))
	}
	if given.Format != ask.Format || given.Freshness != attestd.FreshnessBinding {
		return "", undecided("spire/verdict", "a verdict on something else",
			fmt.Errorf("format %q, freshness %s", attestd.Excerpt(string(given.Format), 40),
				given.Freshness))
	}
	standing := given.Standing
	if standing == nil || standing.Tenant == "" {
		return "", denied("enrol the machine: attestd enroll ls --pending", "the machine is nobody's")
	}
	if standing.Tenant != ask.Tenant {
		return "", undecided("spire/verdict", "a verdict for another tenant",
			errors.New("appraisal "+given.ID))
	}
	if standing.Subject == "" {
		return "", denied(
			"evidence of this format needs an enrolled key beside it that names the instance",
			"the evidence names no instance")
	}
	id, err := o.agentID(standing.Subject, given.Format)
	if err != nil {
		return "", fmt.Errorf("subject of an appraisal: %w", err)
	}
	return id, nil
}

// ticketFor lets the agent's SVID be issued, for the key that the evidence bound.
func (o *Office) ticketFor(ctx context.Context, id subject.ID, key [sha256.Size]byte) error {
	now := o.config.Now()
	one := ticket{key: key, unbound: key == [sha256.Size]byte{}, ends: now.Add(ticketLife)}
	if one.unbound {
		was, err := o.config.Bound(ctx, id)
		if err != nil {
			return undecided("spire/ratchet", "whether the node ever bound a key is not known", err)
		}
		if was {
			return unbound(errRatchet)
		}
	}
	err := o.tickets.add(id, one, now)
	if errors.Is(err, errRatchet) {
		return unbound(err)
	}
	return err
}

func unbound(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassPolicyDeny, Err: err,
		Hint: "use the agent's KeyManager \"attestd\", so that the evidence binds the agent's key",
	}
}

// enlist certifies the agent's key for its own way to attestd.
func (o *Office) enlist(id subject.ID, spki []byte) (*wire.Enlist, error) {
	ends := o.config.Now().Add(o.config.Lifetimes.Agent)
	chain, err := o.config.NodeCA.Issue(spki, string(id), ends)
	if err != nil {
		return nil, fmt.Errorf("certificate of a node: %w", err)
	}
	return &wire.Enlist{
		Certificates: chain, NotAfter: ends, CA: o.config.ServerCA, Addresses: o.config.Addresses,
		SnapshotKey: o.snapshotKey, AgentID: string(id),
	}, nil
}

// selectors are what SPIRE is told of a node.
func selectors(standing live.Standing, shown facts) []string {
	out := []string{
		"format:" + word(string(standing.Format)), "tenant:" + word(standing.Tenant),
		"state:" + word(standing.State.String()), "tier:" + word(standing.Tier.String()),
		"key:" + word(string(shown.grade)),
	}
	if shown.residency != "" {
		out = append(out, "residency:"+word(shown.residency))
	}
	if shown.measurement != "" {
		out = append(out, "measurement:"+word(shown.measurement))
	}
	if shown.devices != "" {
		for device := range strings.SplitSeq(shown.devices, deviceSeparator) {
			// A name for each: the plugin beside SPIRE's server takes none twice.
			path, format, _ := strings.Cut(device, ".")
			out = append(out, "device-"+path+":"+word(format))
		}
		out = append(out, "edge:"+word(shown.edge.String()))
	}
	return out
}
