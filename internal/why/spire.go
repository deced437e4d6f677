package why

import (
	"context"
	"time"

	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
)

// SPIRE says what SPIRE has of an id. Package daemon has the one there is.
type SPIRE interface {
	// Look returns what there is on a SPIFFE ID; nil where attestd answers no SPIRE.
	Look(ctx context.Context, id string) *Shown
}

// Kind is what a SPIFFE ID stands for.
type Kind string

// Kinds. The zero Kind is no answer.
const (
	// OfWorkload: issued to what runs on agents' nodes.
	OfWorkload Kind = "workload"
	// OfNode: an agent that attests itself by attestd. OfStranger: one of another node attestor.
	OfNode     Kind = "node"
	OfStranger Kind = "stranger"
	// OfEvidence: issued for evidence alone, without an agent.
	OfEvidence Kind = "evidence"
	// OfSPIRE: of the SPIRE server itself.
	OfSPIRE Kind = "spire"
	// OfOther: of another trust domain.
	OfOther Kind = "other"
)

// Shown is what is known of SPIRE as far as it concerns one id.
type Shown struct {
	Kind        Kind
	TrustDomain string
	// Observe says that what no attested node stands behind is issued and says so.
	Observe bool
	// Unknown says why SPIRE could not be asked; empty where it was. MapAt is when SPIRE was last known
	// to have what attestd goes by; zero for never.
	Unknown string
	MapAt   time.Time
	// Mint and Attestation are canaries: identities that are asked for to see that they come.
	Mint, Attestation Canary
	// Agent is what SPIRE has of the id where it is an agent's; nil for nothing.
	Agent *Agent
	// Entries are those of the id where it is a workload's, with what each one wants; for an agent's
	// those that it can obtain, as many as are shown.
	Entries []Entry
	// Mapped says that attestd goes by an entry of the id, also where SPIRE cannot be asked for it now.
	Mapped bool
	// Nodes can obtain the id, by SPIRE's entries.
	Nodes []Node
	// Alike are ids of SPIRE's that differ from it in case alone.
	Alike []string
	// Longest is how long an X509-SVID can live at the most.
	Longest time.Duration
	// Judged is what a grant would say now; nil for yes.
	Judged error
}

// Canary is what came of the latest one of a kind; the zero Canary is that none ran yet.
type Canary struct {
	OK    bool
	At    time.Time
	Error string
}

// failed reports whether the canary says that identities do not come.
func (c Canary) failed() bool { return !c.At.IsZero() && !c.OK }

// Agent is an agent as SPIRE has it.
type Agent struct {
	Banned bool
	// ExpiresAt is when its SVID ends; zero where SPIRE does not say.
	ExpiresAt time.Time
}

// Entry is a registration entry.
type Entry struct {
	ID, SPIFFEID, ParentID string
	Selectors              []Selector
	X509TTL                time.Duration
	// ExpiresAt is zero for an entry without an end.
	ExpiresAt time.Time
}

// Selector is one selector of an entry.
type Selector struct{ Type, Value string }

// String is the selector as SPIRE's commands write it.
func (s Selector) String() string { return s.Type + ":" + s.Value }

// Node is an agent that can obtain an id.
type Node struct {
	ID       subject.ID
	Standing live.Standing
	// Agent is nil where SPIRE has none of that name.
	Agent *Agent
	// Cause, Code and Fix say why it is granted nothing; empty where it is, and where nobody looked.
	Cause, Code, Fix string
}

// runs reports whether the node's agent can ask SPIRE for anything.
func (n Node) runs(now time.Time) bool {
	return n.Agent != nil && !n.Agent.Banned && !n.Agent.ended(now)
}

// attested reports whether attestd ever took evidence of the node.
func (n Node) attested() bool { return n.Standing.Known && n.Standing.Format != "" }

func (n Node) barred() bool { return n.Standing.Barred != "" || subject.Barred(n.Standing.State) }

func (a *Agent) ended(now time.Time) bool {
	return a != nil && !a.ExpiresAt.IsZero() && a.ExpiresAt.Before(now)
}

// Type of attestd's selectors in SPIRE, and the beginning of the one that makes a held entry match
// nothing.
const (
	ourType  = "attestd"
	heldMark = "held:"
)

// held reports whether attestd holds the entry.
func (e Entry) held() bool {
	for _, one := range e.Selectors {
		if one.Type == ourType && len(one.Value) >= len(heldMark) && one.Value[:len(heldMark)] == heldMark {
			return true
		}
	}
	return false
}

func (e Entry) expired(now time.Time) bool { return !e.ExpiresAt.IsZero() && e.ExpiresAt.Before(now) }

// gives says what attestd's workload attestor tells on a node for the selectors that follow from the
// node alone; ok is false for those that follow from the process.
func gives(standing live.Standing, kind string) (value string, ok bool) {
	switch kind {
	case "admitted":
		return "yes", true
	case "state":
		return standing.State.String(), true
	case "tier":
		return standing.Tier.String(), true
	case "tenant":
		return standing.Tenant, true
	}
	return "", false
}

// visible leaves out of SPIRE's what the asker may not know of: whoever does not act for all tenants
// sees ids that nodes of theirs can obtain, and of those their own nodes.
func (s *Shown) visible(sees func(string) bool, own bool) *Shown {
	if s == nil || sees(allTenants) {
		return s
	}
	out := *s
	out.Nodes, out.Entries = nil, nil
	hidden := map[string]bool{}
	for _, node := range s.Nodes {
		if sees(node.Standing.Tenant) {
			out.Nodes = append(out.Nodes, node)
		} else {
			hidden[string(node.ID)] = true
		}
	}
	switch {
	case s.Kind == OfNode && !own: // that no node can attest itself is nobody's secret
		return &Shown{Kind: OfNode, TrustDomain: s.TrustDomain, Attestation: s.Attestation}
	case s.Kind == OfStranger, s.Kind == OfWorkload && len(out.Nodes) == 0:
		return nil
	}
	for _, entry := range s.Entries {
		if !hidden[entry.ParentID] {
			out.Entries = append(out.Entries, entry)
		}
	}
	if out.Kind == OfWorkload {
		out.Alike = nil
	}
	return &out
}

// allTenants is what only those see who act for every tenant.
const allTenants = "*"
