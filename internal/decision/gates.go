package decision

import (
	"fmt"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/subject"
)

// proof names what a gate is part of.
type proof uint8

const (
	proofWho proof = iota
	proofWhat
)

// gate is one thing that must hold before any policy is asked. No policy can open it.
type gate struct {
	// Name is its row in docs/decisions/gates.md, Demands what it demands.
	Name, Demands string
	of            proof
	// fails returns why it is shut, or no code.
	fails func(in *Input) (Code, string)
}

// gates are all of them, in the order in which they are asked; the first that is shut decides. What is
// held comes before what is not attested: whoever is quarantined with all that it runs on is told so.
var gates = []gate{
	{"whole", "the question and its bounds can be read", proofWhat, notWhole},
	{"authentic", "a credential was verified, and is valid now", proofWho, notAuthentic},
	{"told", "attestd can tell how the caller stands", proofWho, notTold},
	{"not held", "neither the caller nor all that it runs on is quarantined or revoked", proofWho, isHeld},
	{"attested", "every node that could have obtained the identity was attested and is good now", proofWho,
		notAttested},
	{"fresh", "the evidence is no older than `decisions.fresh`, and not overdue", proofWho, notFresh},
	{"risk", "the risk is low or medium", proofWho, isRisky},
	{"tenant", "the tenant follows from owned hardware", proofWho, noTenant},
	{"inventory", "the inventory has a record of the caller, in force and of the same tenant", proofWho,
		notListed},
	{"bound", "the record is bound to a policy", proofWho, notBound},
	{"rate", "the caller's limit, which follows its risk, is not used up", proofWho, isThrottled},
	{"named", "action, resource and the resource's tenant are named", proofWhat, notNamed},
}

// shut returns why no question of the caller could be allowed now: the first gate about the caller that is
// shut. The rate is of questions and not of the caller.
func (in *Input) shut() Code {
	for _, one := range gates {
		if one.of != proofWho || one.Name == "rate" {
			continue
		}
		if code, _ := one.fails(in); code != "" {
			return code
		}
	}
	return ""
}

func notWhole(in *Input) (Code, string) {
	rules := in.Rules
	switch {
	case in.Schema != InputSchema || in.At.IsZero():
		return CodeInternal, "an input of another form, or of no time"
	case rules.Fresh <= 0 || rules.FreshPrivileged <= 0 || rules.MaxChain < 1:
		return CodeInternal, "bounds that are not set"
	case in.Refused != "":
		return in.Refused, in.RefusedDetail
	case in.Oversized:
		return CodeMalformed, fmt.Sprintf("a question of more than %d bytes or %d entries", maxQuestion, maxEntries)
	case len(in.Context.Chain) > rules.MaxChain:
		return CodeMalformed, fmt.Sprintf("a subject chain of %d links, want at most %d",
			len(in.Context.Chain), rules.MaxChain)
	}
	return "", ""
}

func notAuthentic(in *Input) (Code, string) {
	who := &in.Who
	switch {
	case who.Fault != "":
		return who.Fault, who.FaultDetail
	case who.ID == "" || who.Method != MethodJWT && who.Method != MethodX509:
		return CodeUnauthenticated, "nobody was identified"
	case who.Expires.IsZero() || !in.At.Before(who.Expires):
		return CodeExpired, "the credential ended at " + stamp(who.Expires)
	}
	return "", ""
}

func notTold(in *Input) (Code, string) {
	if in.Standing.Fault != "" {
		return in.Standing.Fault, "the state of the caller cannot be read now"
	}
	return "", ""
}

func isHeld(in *Input) (Code, string) {
	switch in.Standing.State {
	case attestd.StateRevoked:
		return CodeRevoked, "barred for ever"
	case attestd.StateQuarantined:
		return CodeQuarantined, "held until a person releases it"
	}
	if subject.Barred(in.Standing.State) {
		return CodeQuarantined, "barred"
	}
	return "", ""
}

func notAttested(in *Input) (Code, string) {
	if !in.Standing.Attested || in.Standing.State != attestd.StateTrusted || in.Standing.AttestedAt.IsZero() {
		return CodeNotAttested, "no attested node stands behind it now"
	}
	return "", ""
}

func notFresh(in *Input) (Code, string) {
	age := in.At.Sub(in.Standing.AttestedAt)
	switch {
	case age > in.Rules.Fresh:
		return CodeStale, fmt.Sprintf("evidence of %s ago, want at most %s", age.Round(time.Second), in.Rules.Fresh)
	case age < -time.Minute:
		return CodeStale, "evidence from the future"
	case in.Standing.DueAt.IsZero() || !in.At.Before(in.Standing.DueAt):
		return CodeStale, "fresh evidence was due at " + stamp(in.Standing.DueAt)
	}
	return "", ""
}

func isRisky(in *Input) (Code, string) {
	switch tier := in.Standing.Risk.Tier(); {
	case in.Standing.Tier != tier:
		return CodeInternal, "tier and score differ"
	case tier != attestd.TierLow && tier != attestd.TierMedium:
		return CodeRiskSpike, fmt.Sprintf("risk %d %s", in.Standing.Risk.Int(), tier)
	}
	return "", ""
}

func noTenant(in *Input) (Code, string) {
	if in.Standing.Tenant == "" {
		return CodeTenantUnknown, "its nodes are nobody's, or several tenants'"
	}
	return "", ""
}

func notListed(in *Input) (Code, string) {
	record := in.Record
	switch {
	case record == nil || record.ID != string(in.Who.ID):
		return CodeUnknownIdentity, "no record of it"
	case record.Lifecycle == nhi.LifecycleRetired:
		return CodeRetired, "its record says retired"
	case record.Tenant != in.Standing.Tenant:
		// What people wrote down does not outweigh whose the hardware is, and what they meant is not
		// guessed.
		return CodeTenantMismatch, "its record names another tenant than its hardware"
	}
	return "", ""
}

func notBound(in *Input) (Code, string) {
	if in.Record.Policy == "" {
		return CodeNoPolicy, "its record names no policy"
	}
	return "", ""
}

func isThrottled(in *Input) (Code, string) {
	switch {
	case !in.Findings.Looked:
		return CodeInternal, "limits were not looked at"
	case in.Findings.Throttled:
		return CodeThrottled, "ask again in " + in.Findings.RetryAfter.Round(time.Millisecond).String()
	}
	return "", ""
}

func notNamed(in *Input) (Code, string) {
	switch {
	case in.Action.Name == "":
		return CodeMissingProof, "no action"
	case in.Resource.Type == "" || in.Resource.ID == "":
		return CodeMissingProof, "no resource"
	case in.Resource.Tenant == "":
		return CodeMissingProof, "the resource's tenant is not known"
	}
	return "", ""
}

func stamp(at time.Time) string {
	if at.IsZero() {
		return "no time"
	}
	return at.UTC().Format(time.RFC3339)
}

// Gate is a row of docs/decisions/gates.md.
type Gate struct{ Name, Demands string }

// Gates returns the gates in their order.
func Gates() []Gate {
	out := make([]Gate, len(gates))
	for i, one := range gates {
		out[i] = Gate{one.Name, one.Demands}
	}
	return out
}
