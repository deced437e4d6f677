package why_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/internal/why"
)

const (
	workload = "spiffe://example.org/shop/web"
	stranger = "spiffe://example.org/spire/agent/x509pop/7c1f"
)

// placed is a workload with one entry on one node that nothing stands in the way of.
func placed() why.Facts {
	node := well()
	return why.Facts{
		Target: workload, Now: noon, Sees: func(string) bool { return true }, Known: &subject.Known{},
		SPIRE: &why.Shown{
			Kind: why.OfWorkload, TrustDomain: "example.org", MapAt: noon.Add(-2 * time.Second), Mapped: true,
			Longest: 24 * time.Hour,
			Mint:    why.Canary{OK: true, At: noon.Add(-4 * time.Second)},
			Entries: []why.Entry{{
				ID: "e1", SPIFFEID: workload, ParentID: string(id), Selectors: []why.Selector{
					{Type: "unix", Value: "uid:1000"}, {Type: "attestd", Value: "admitted:yes"},
					{Type: "attestd", Value: "tier:low"}, {Type: "attestd", Value: "workload:web"},
				},
			}},
			Nodes: []why.Node{{
				ID: id, Standing: attested(node.Standing), Agent: &why.Agent{ExpiresAt: noon.Add(time.Hour)},
			}},
		},
	}
}

func attested(standing live.Standing) live.Standing {
	standing.Format = attestd.FormatTPM
	return standing
}

// refuse makes attestd grant a node nothing, for a reason.
func refuse(f *why.Facts, code, cause string) {
	node := &f.SPIRE.Nodes[0]
	node.Standing.State = attestd.StateSuspect
	node.Code, node.Cause, node.Fix = code, cause, "attestd release it"
	f.SPIRE.Judged = &attestd.CallerError{Class: attestd.ClassPolicyDeny, Err: errors.New("refused")}
}

// unknown makes the node one that attestd has no evidence of.
func unknown(f *why.Facts) { f.SPIRE.Nodes[0].Standing = live.Standing{ID: id} }

// TestWhyNamesWhatStandsBeforeAWorkload has prepared cases of "no identity issued", each by its first
// cause.
func TestWhyNamesWhatStandsBeforeAWorkload(t *testing.T) {
	denied := &attestd.CallerError{Class: attestd.ClassPolicyDeny, Err: errors.New("no")}
	for _, row := range []struct {
		name                      string
		world                     func(*why.Facts)
		code, cause, fix, missing string
	}{
		{"nothing is in the way", func(*why.Facts) {}, why.Granted, "nothing stands", "", ""},
		{"the store is down", func(f *why.Facts) { f.Known = nil }, why.StoreDown, "store is down",
			"attestd doctor", "registry"},
		{"the workload's own name is held", func(f *why.Facts) {
			f.Known.Bars = []subject.Bar{bar("subject", attestd.StateQuarantined, "blue")}
			f.SPIRE.Judged = denied
		}, why.Quarantined, "the name is quarantined", "attestd release " + workload, "holds"},
		{"another trust domain", func(f *why.Facts) {
			f.SPIRE.Kind, f.SPIRE.Judged = why.OfOther, denied
		}, why.OtherDomain, "attestd answers for example.org alone", "check the spelling", "spire"},
		{"the SPIRE server's own id", func(f *why.Facts) {
			f.SPIRE.Kind, f.SPIRE.Judged = why.OfSPIRE, denied
		}, why.SPIREsOwn, "to itself", "another path", "spire"},
		{"issued for evidence alone", func(f *why.Facts) {
			f.SPIRE.Kind, f.SPIRE.Judged = why.OfEvidence, denied
		}, why.EvidenceAlone, "evidence that binds the key", "POST /v1/svid", "spire"},
		{"SPIRE was never asked", func(f *why.Facts) {
			*f.SPIRE = why.Shown{
				Kind: why.OfWorkload, Unknown: "no controller",
				Judged: &attestd.UndecidedError{Class: attestd.ClassStoreUnavailable},
			}
		}, why.SPIREUnknown, "does not know what SPIRE has: no controller", "attestd doctor --only spire", "spire"},
		{"SPIRE cannot be asked for too long", func(f *why.Facts) {
			f.SPIRE.Unknown, f.SPIRE.Entries = "no controller", nil
			f.SPIRE.Judged = &attestd.UndecidedError{Class: attestd.ClassStoreUnavailable}
		}, why.SPIREUnknown, "cannot tell now", "attestd doctor --only spire", ""},
		{"SPIRE cannot be asked for a moment", func(f *why.Facts) {
			f.SPIRE.Unknown, f.SPIRE.Entries = "no controller", nil
		}, why.Granted, "nothing stands", "", ""},
		{"no entry", func(f *why.Facts) {
			f.SPIRE.Entries, f.SPIRE.Nodes, f.SPIRE.Mapped = nil, nil, false
		}, why.NoEntry, "no registration entry", "spire-server entry create -spiffeID " + workload, "entry"},
		{"an entry in another case", func(f *why.Facts) {
			f.SPIRE.Entries, f.SPIRE.Nodes, f.SPIRE.Mapped = nil, nil, false
			f.SPIRE.Alike = []string{"spiffe://example.org/shop/Web"}
		}, why.NoEntry, "one that differs in case", "attestd why spiffe://example.org/shop/Web", "entry"},
		{"the entry has expired", func(f *why.Facts) {
			f.SPIRE.Entries[0].ExpiresAt = noon.Add(-time.Minute)
		}, why.EntryExpired, "has expired", "-entryExpiry 0", "entry"},
		{"the entry is held still", func(f *why.Facts) {
			f.SPIRE.Entries[0].Selectors = append(f.SPIRE.Entries[0].Selectors,
				why.Selector{Type: "attestd", Value: "held:1"})
		}, why.EntryHeld, "has not reached SPIRE", "attestd doctor --only spire", "entry"},
		{"the entry asks for a week", func(f *why.Facts) {
			f.SPIRE.Entries[0].X509TTL, f.SPIRE.Judged = 7*24*time.Hour, denied
		}, why.EntryTTL, "asks for X509-SVIDs of 168h0m0s", "-x509SVIDTTL 3600", "entry"},
		{"nobody is the entry's parent", func(f *why.Facts) {
			f.SPIRE.Nodes, f.SPIRE.Judged = nil, denied
		}, why.NoNode, "no agent is, or matches, the parent", "spire-server agent list", "nodes"},
		{"its only node is held", func(f *why.Facts) {
			refuse(f, why.Quarantined, "the hardware is quarantined: alert 4471")
			f.SPIRE.Nodes[0].Standing.Barred = subject.BarInstance
			f.SPIRE.Nodes[0].Agent.Banned = true // by attestd's own order: not the first cause
		}, why.Quarantined, "9c41f3aa: the hardware is quarantined: alert 4471", "attestd release it", "nodes"},
		{"its only node's evidence is rejected", func(f *why.Facts) {
			refuse(f, why.EvidenceRejected, "its latest evidence is rejected by measurement/known")
		}, why.EvidenceRejected, "rejected by measurement/known", "attestd release it", "nodes"},
		{"its only node is overdue and another never attested", func(f *why.Facts) {
			f.SPIRE.Nodes = append(f.SPIRE.Nodes, why.Node{ID: "spiffe://example.org/spire/agent/a", Agent: &why.Agent{}})
			refuse(f, why.Overdue, "the machine has not attested in time")
		}, why.Overdue, "has not attested in time; 1 other nodes have nothing either", "", "nodes"},
		{"a person banned its node's agent in SPIRE", func(f *why.Facts) {
			f.SPIRE.Nodes[0].Agent.Banned, f.SPIRE.Judged = true, denied
		}, why.AgentBanned, "no hold of attestd's is the reason", "spire-server agent evict -spiffeID " + string(id),
			"nodes"},
		{"its node's agent does not run any more", func(f *why.Facts) {
			f.SPIRE.Nodes[0].Agent.ExpiresAt = noon.Add(-time.Minute)
		}, why.AgentExpired, "does not run", "start SPIRE's agent", "nodes"},
		{"its node's agent was evicted", func(f *why.Facts) { f.SPIRE.Nodes[0].Agent = nil },
			why.AgentUnknown, "has not attested itself to SPIRE", "start SPIRE's agent", "nodes"},
		{"its node attests itself otherwise", func(f *why.Facts) { unknown(f); f.SPIRE.Judged = denied },
			why.Unattested, "never had evidence of the node, and spire.unattested is deny", "attestd migrate", "nodes"},
		{"its node attests itself otherwise, and that is observed", func(f *why.Facts) {
			unknown(f)
			f.SPIRE.Observe = true
		}, why.Granted, "nothing stands", "", ""},
		{"the entry wants a better tier than the node has", func(f *why.Facts) {
			f.SPIRE.Nodes[0].Standing.Tier = attestd.TierMedium
			f.SPIRE.Nodes[0].Standing.Risk = attestd.Risk(45)
		}, why.Selectors, "entry e1 wants attestd:tier:low, and " + string(id) + " has tier:medium",
			"attestd why " + string(id), "selectors"},
		{"SPIRE issues nothing at all", func(f *why.Facts) {
			f.SPIRE.Mint = why.Canary{At: noon.Add(-time.Second), Error: "composer: connection refused"}
		}, why.MintFailing, "issues nothing to anybody now: composer: connection refused", "attestd doctor --only spire",
			"mint"},
		{"attestd refuses what looks well", func(f *why.Facts) { f.SPIRE.Judged = denied },
			why.Changing, "refuses it at this moment", "attestd doctor", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			facts := placed()
			row.world(&facts)
			demand(t, facts, row.code, row.cause, row.fix, row.missing)
		})
	}
}

// TestWhyNamesWhatSPIREHasOfANode: what attestd would grant, and SPIRE or the way to it does not.
func TestWhyNamesWhatSPIREHasOfANode(t *testing.T) {
	for _, row := range []struct {
		name                      string
		world                     func(*why.Facts)
		code, cause, fix, missing string
	}{
		{"an agent that runs", func(*why.Facts) {}, why.Granted, "nothing stands", "", ""},
		{"SPIRE cannot be asked", func(f *why.Facts) { f.SPIRE.Agent, f.SPIRE.Unknown = nil, "no controller" },
			why.Granted, "nothing stands", "", ""},
		{"evicted", func(f *why.Facts) { f.SPIRE.Agent = nil }, why.AgentUnknown, "SPIRE has no agent of that name",
			"start SPIRE's agent", "spire"},
		{"banned by a person", func(f *why.Facts) { f.SPIRE.Agent.Banned = true }, why.AgentBanned, "a person did",
			"spire-server agent evict -spiffeID " + string(id), "spire"},
		{"gone", func(f *why.Facts) { f.SPIRE.Agent.ExpiresAt = noon.Add(-time.Second) }, why.AgentExpired,
			"does not run", "start SPIRE's agent", "spire"},
		{"held, and banned for that", func(f *why.Facts) {
			f.SPIRE.Agent.Banned, f.Standing.State = true, attestd.StateQuarantined
			f.Known.Bars = []subject.Bar{bar("subject", attestd.StateQuarantined, "blue")}
		}, why.Quarantined, "the name is quarantined", "attestd release", "holds"},
		{"no node can attest itself", func(f *why.Facts) {
			f.SPIRE.Attestation = why.Canary{At: noon, Error: "attestd: unreachable"}
			f.Known, f.Standing = &subject.Known{}, live.Standing{}
		}, why.AttestationFailing, "no node can attest itself through SPIRE now: attestd: unreachable",
			"attestd doctor --only spire", "attestation"},
		{"another attestor's agent", func(f *why.Facts) {
			f.Target, f.SPIRE.Kind, f.Known, f.Standing = stranger, why.OfStranger, &subject.Known{}, live.Standing{}
			f.SPIRE.Judged = &attestd.CallerError{Class: attestd.ClassPolicyDeny, Err: errors.New("no")}
			f.Sees = func(string) bool { return true }
		}, why.Unattested, "spire.unattested is deny", "attestd spire config --agent", "spire"},
		{"another attestor's agent that is observed", func(f *why.Facts) {
			f.Target, f.SPIRE.Kind, f.Known, f.Standing = stranger, why.OfStranger, &subject.Known{}, live.Standing{}
			f.SPIRE.Observe, f.Sees = true, func(string) bool { return true }
		}, why.Granted, "nothing stands", "", ""},
		{"another attestor's agent that SPIRE does not have", func(f *why.Facts) {
			f.Target, f.SPIRE.Kind, f.Known, f.Standing = stranger, why.OfStranger, &subject.Known{}, live.Standing{}
			f.SPIRE.Agent, f.Sees = nil, func(string) bool { return true }
		}, why.AgentUnknown, "no agent of that name", "spire-server agent list", "spire"},
	} {
		t.Run(row.name, func(t *testing.T) {
			facts := well()
			facts.SPIRE = &why.Shown{
				Kind: why.OfNode, TrustDomain: "example.org", MapAt: noon, Agent: &why.Agent{ExpiresAt: noon.Add(time.Hour)},
			}
			row.world(&facts)
			demand(t, facts, row.code, row.cause, row.fix, row.missing)
		})
	}
}

func demand(t *testing.T, facts why.Facts, code, cause, fix, missing string) {
	t.Helper()
	got := why.Explain(facts)
	if got.Code != code || !strings.Contains(got.Cause, cause) || !strings.Contains(got.Fix, fix) {
		t.Errorf("got %s: %q, fix %q\nwant %s: %q, fix %q", got.Code, got.Cause, got.Fix, code, cause, fix)
	}
	if got.Granted != (code == why.Granted) || got.Granted != (got.Fix == "") {
		t.Errorf("granted %v with code %s and fix %q", got.Granted, got.Code, got.Fix)
	}
	first := ""
	for _, step := range got.Steps {
		if !step.OK {
			first = step.Name
			break
		}
	}
	if first != missing {
		t.Errorf("the first step that is missing is %q, want %q: %+v", first, missing, got.Steps)
	}
}

// TestWhyShowsOfANodeWhatCanBeIssued: an entry that SPIRE cannot go by is no way for a process on it.
func TestWhyShowsOfANodeWhatCanBeIssued(t *testing.T) {
	facts := well()
	facts.SPIRE = &why.Shown{
		Kind: why.OfNode, Agent: &why.Agent{}, Longest: time.Hour, Entries: []why.Entry{
			{ID: "long", X509TTL: 2 * time.Hour}, {ID: "over", ExpiresAt: noon.Add(-time.Hour)},
			{ID: "held", Selectors: []why.Selector{{Type: "attestd", Value: "held:1"}}}, {ID: "good"},
		},
	}
	if got := why.Explain(facts).Entries; len(got) != 1 || got[0].ID != "good" {
		t.Errorf("got %+v", got)
	}
}

// TestWhyShowsATenantItsOwnNodesAlone: of a workload that other tenants' nodes can obtain, too.
func TestWhyShowsATenantItsOwnNodesAlone(t *testing.T) {
	facts := placed()
	other := facts.SPIRE.Nodes[0]
	other.ID, other.Standing.Tenant = "spiffe://example.org/spire/agent/attestd/tpm/red", "red"
	facts.SPIRE.Nodes = append(facts.SPIRE.Nodes, other)
	theirs := facts.SPIRE.Entries[0]
	theirs.ID, theirs.ParentID = "of-red", string(other.ID)
	facts.SPIRE.Entries = append(facts.SPIRE.Entries, theirs)
	facts.SPIRE.Alike = []string{"spiffe://example.org/shop/WEB"}
	facts.Sees = func(tenant string) bool { return tenant == "blue" }
	got := why.Explain(facts)
	if got.Code != why.Granted || len(got.Entries) != 1 || got.Entries[0].ID != "e1" {
		t.Errorf("got %+v", got)
	}
	facts.Sees = func(tenant string) bool { return tenant == "green" }
	got = why.Explain(facts)
	if got.Code != why.NeverSeen || len(got.Entries) != 0 {
		t.Errorf("a tenant without a node of it learns %+v", got)
	}
	facts.SPIRE.Kind, facts.Target = why.OfStranger, stranger
	if got = why.Explain(facts); got.Code != why.NeverSeen {
		t.Errorf("a tenant learns of an agent that is nobody's: %+v", got)
	}
}
