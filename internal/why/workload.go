package why

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
)

// step is one step of an explanation.
type step struct {
	name string
	look func(Facts) finding
}

// nodeSteps are those of a machine, workloadSteps those of what runs on machines.
var (
	nodeSteps = []step{
		{"registry", registryStep}, {"appraisal", appraisalStep}, {"holds", holdsStep},
		{"attestation", attestationStep}, {"evidence", evidenceStep}, {"ownership", ownershipStep},
		{"deadline", deadlineStep}, {"state", stateStep}, {"spire", agentStep},
	}
	workloadSteps = []step{
		{"registry", registryStep}, {"holds", holdsStep}, {"spire", spireStep}, {"entry", entryStep},
		{"nodes", nodesStep}, {"selectors", selectorsStep}, {"mint", mintStep},
	}
	strangerSteps = []step{{"registry", registryStep}, {"holds", holdsStep}, {"spire", strangerStep}}
)

const doctorSPIRE = "attestd doctor --only spire"

// spireStep says whether the id is one that attestd answers for through agents, and knows of.
func spireStep(f Facts) finding {
	s := f.SPIRE
	switch s.Kind {
	case OfOther:
		return finding{
			code: OtherDomain, detail: "of another trust domain", ends: true,
			cause: "attestd answers for " + s.TrustDomain + " alone",
			fix:   "check the spelling, or ask the attestd of that trust domain",
		}
	case OfSPIRE:
		return finding{
			code: SPIREsOwn, detail: "of the SPIRE server itself", ends: true,
			cause: "SPIRE issues this id to itself, and nobody else is given it",
			fix:   "register the workload under another path",
		}
	case OfEvidence:
		return finding{
			code: EvidenceAlone, detail: "issued for evidence alone", ends: true,
			cause: "ids of this path are issued to who shows evidence that binds the key, never through an agent",
			fix:   "POST /v1/svid with the evidence and a CSR; see spire.attested_only",
		}
	}
	if s.Unknown != "" && !s.Mapped {
		return finding{
			code: SPIREUnknown, detail: "its entries are not known", ends: true,
			cause: "attestd does not know what SPIRE has: " + attestd.Excerpt(s.Unknown, 200),
			fix:   doctorSPIRE + "   # and the log of attestd's controller",
		}
	}
	return fine("entries and agents as %s", ago(s.MapAt, f.Now))
}

// entryStep looks for an entry of the id that SPIRE can go by.
func entryStep(f Facts) finding {
	s := f.SPIRE
	if len(s.Entries) == 0 && s.Unknown != "" {
		return fine("known of old; SPIRE cannot be asked for it now: %s", attestd.Excerpt(s.Unknown, 120))
	}
	if len(s.Entries) == 0 {
		out := finding{
			code: NoEntry, detail: "none", ends: true,
			cause: "SPIRE has no registration entry for this id",
			fix: "spire-server entry create -spiffeID " + f.Target + " -parentID NODE -selector " +
				"attestd:admitted:yes -selector ...",
		}
		if len(s.Alike) != 0 {
			out.cause += ", and one that differs in case: " + attestd.Excerpt(s.Alike[0], 200)
			out.fix = "attestd why " + attestd.Excerpt(s.Alike[0], 200)
		}
		return out
	}
	if len(f.usable()) > 0 {
		return fine("%d, as in %s below %s", len(s.Entries), s.Entries[0].ID, shown(s.Entries[0].ParentID))
	}
	one := s.Entries[0]
	switch {
	case one.held():
		return finding{
			code: EntryHeld, detail: one.ID + " is held", ends: true,
			cause: "attestd holds its entry, and no hold of the id is in force: what was lifted has not reached SPIRE",
			fix:   doctorSPIRE,
		}
	case one.expired(f.Now):
		return finding{
			code: EntryExpired, detail: one.ID + " ended " + ago(one.ExpiresAt, f.Now), ends: true,
			cause: "its registration entry has expired",
			fix:   "spire-server entry update -entryID " + one.ID + " -entryExpiry 0 ...",
		}
	default:
		return finding{
			code: EntryTTL, detail: fmt.Sprintf("%s asks for %s", one.ID, one.X509TTL), ends: true,
			cause: fmt.Sprintf("its entry asks for X509-SVIDs of %s, and attestd grants %s at the most",
				one.X509TTL, s.Longest),
			fix: "spire-server entry update -entryID " + one.ID + " -x509SVIDTTL 3600 ...",
		}
	}
}

// usable are the entries that SPIRE can go by.
func (f Facts) usable() []Entry {
	return slices.DeleteFunc(slices.Clone(f.SPIRE.Entries), func(e Entry) bool {
		return e.held() || e.expired(f.Now) || f.SPIRE.Longest > 0 && e.X509TTL > f.SPIRE.Longest
	})
}

// granting are the nodes on which the id can be had now.
func (f Facts) granting() []Node {
	return slices.DeleteFunc(slices.Clone(f.SPIRE.Nodes), func(n Node) bool {
		return !n.Standing.Grants() || !n.runs(f.Now)
	})
}

// nodesStep looks for a node that can obtain the id: granted identities, and with an agent that runs.
func nodesStep(f Facts) finding {
	s := f.SPIRE
	if len(s.Nodes) == 0 {
		parents := make([]string, 0, len(s.Entries))
		for _, one := range f.usable() {
			parents = append(parents, shown(one.ParentID))
		}
		slices.Sort(parents)
		return finding{
			code: NoNode, detail: "none", ends: true,
			cause: "no agent is, or matches, the parent of its entry: " +
				attestd.Excerpt(strings.Join(slices.Compact(parents), ", "), 300),
			fix: "spire-server agent list   # and attestd why NODE for the one that it runs on",
		}
	}
	if good := f.granting(); len(good) > 0 {
		return fine("%d of %d are granted identities, as in %s", len(good), len(s.Nodes), shown(string(good[0].ID)))
	}
	// The first cause is the one that helps: a node that attestd refuses before one that SPIRE does.
	worst := slices.MinFunc(s.Nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(f.rank(a), f.rank(b)), strings.Compare(string(a.ID), string(b.ID)))
	})
	out := f.blame(worst)
	if others := len(s.Nodes) - 1; others > 0 && out.code != "" {
		out.cause += fmt.Sprintf("; %d other nodes have nothing either", others)
	}
	return out
}

// rank orders nodes that are no way to the id by how much their cause says.
func (f Facts) rank(n Node) int {
	switch {
	case n.Standing.Grants() && n.Agent != nil: // by SPIRE alone
		return 0
	case n.barred():
		return 1
	case n.attested() && !n.Standing.Grants():
		return 2
	case n.Agent != nil && !n.Agent.Banned && !n.Agent.ended(f.Now):
		return 3
	case n.Agent != nil:
		return 4
	}
	return 5
}

// blame says what keeps one node from the id.
func (f Facts) blame(n Node) finding {
	name := shown(string(n.ID))
	refused := !n.Standing.Grants()
	switch {
	case refused && (n.barred() || n.attested()):
		return finding{
			code: cmp.Or(n.Code, Changing), detail: name + " is granted nothing",
			cause: "the node " + name + ": " + cmp.Or(n.Cause, "it is granted nothing"),
			fix:   cmp.Or(n.Fix, "attestd why "+string(n.ID)),
		}
	case n.Agent != nil && n.Agent.Banned:
		return banned(name, n.ID)
	case n.Agent == nil:
		return finding{
			code: AgentUnknown, detail: name + " is no agent of SPIRE's",
			cause: "the node of its entry, " + name + ", has not attested itself to SPIRE",
			fix:   "start SPIRE's agent on the node and look at its log; attestd why " + string(n.ID),
		}
	case n.Agent.ended(f.Now):
		return finding{
			code: AgentExpired, detail: name + ": its SVID ended " + ago(n.Agent.ExpiresAt, f.Now),
			cause: "the agent on " + name + " does not run, or does not reach SPIRE any more",
			fix:   "start SPIRE's agent on the node and look at its log",
		}
	case f.SPIRE.Observe:
		return fine("%s is not attested by attestd, and spire.unattested is observe", name)
	}
	return unattested(name)
}

func banned[ID ~string](name string, id ID) finding {
	return finding{
		code: AgentBanned, detail: name + " is banned in SPIRE",
		cause: "SPIRE bans the agent " + name + ", and no hold of attestd's is the reason: a person did, " +
			"or the lifting of a hold has not reached SPIRE",
		fix: "spire-server agent evict -spiffeID " + string(id) + "   # lets it attest again",
	}
}

func unattested(name string) finding {
	return finding{
		code: Unattested, detail: name + " is attested by another attestor",
		cause: "attestd has never had evidence of the node, and spire.unattested is deny",
		fix: "attestd spire config --agent   # or, while you move: attestd migrate shadow and " +
			"spire.unattested: observe",
	}
}

// selectorsStep compares what entries want with what follows from the nodes alone. What follows from
// the process is looked at where the process is.
func selectorsStep(f Facts) finding {
	nodes := f.granting()
	if len(nodes) == 0 || len(f.SPIRE.Entries) == 0 {
		return finding{skipped: true}
	}
	var lacking []string
	for _, entry := range f.usable() {
		for _, node := range nodes {
			missing := ""
			for _, one := range entry.Selectors {
				kind, value, _ := strings.Cut(one.Value, ":")
				has, ok := gives(node.Standing, kind)
				if one.Type == ourType && ok && has != value {
					missing = fmt.Sprintf("entry %s wants %s, and %s has %s:%s", entry.ID, one, shown(string(node.ID)),
						kind, has)
					break
				}
			}
			if missing == "" {
				return fine("nothing of the nodes is missing; on the node: attestd why --pid N")
			}
			lacking = append(lacking, missing)
		}
	}
	return finding{
		code: Selectors, detail: lacking[0], cause: lacking[0],
		fix: "attestd why " + string(nodes[0].ID) + "   # for what raised its risk; or change the entry",
	}
}

func mintStep(f Facts) finding {
	canary := f.SPIRE.Mint
	switch {
	case canary.failed():
		return finding{
			code: MintFailing, detail: "the canary failed " + ago(canary.At, f.Now),
			cause: "SPIRE issues nothing to anybody now: " + attestd.Excerpt(canary.Error, 200),
			fix:   doctorSPIRE + "   # and SPIRE's server log",
		}
	case canary.At.IsZero():
		return finding{skipped: true}
	}
	return fine("a canary was issued %s", ago(canary.At, f.Now))
}

// attestationStep says whether nodes can attest at all: that comes before what one of them has shown.
func attestationStep(f Facts) finding {
	if f.SPIRE == nil || f.Standing.Grants() || !f.SPIRE.Attestation.failed() {
		return finding{skipped: true}
	}
	return finding{
		code: AttestationFailing, detail: "the canary failed " + ago(f.SPIRE.Attestation.At, f.Now),
		cause: "no node can attest itself through SPIRE now: " + attestd.Excerpt(f.SPIRE.Attestation.Error, 200),
		fix:   doctorSPIRE + "   # and SPIRE's server log",
	}
}

// agentStep says what SPIRE has of a node that attestd has evidence of.
func agentStep(f Facts) finding {
	s := f.SPIRE
	if s == nil || f.Known.Subject == nil {
		return finding{skipped: true}
	}
	name := shown(string(f.Known.Subject.ID))
	switch {
	case s.Agent == nil && s.Unknown != "":
		return fine("not known now: %s", attestd.Excerpt(s.Unknown, 120))
	case s.Agent == nil:
		return finding{
			code: AgentUnknown, detail: "no agent of that name",
			cause: "attestd has its evidence, and SPIRE has no agent of that name: it was evicted and has not " +
				"come back, or attests itself to another SPIRE server",
			fix: "start SPIRE's agent on the node and look at its log",
		}
	case s.Agent.Banned:
		return banned(name, f.Known.Subject.ID)
	case s.Agent.ended(f.Now):
		return finding{
			code: AgentExpired, detail: "its SVID ended " + ago(s.Agent.ExpiresAt, f.Now),
			cause: "its agent does not run, or does not reach SPIRE any more",
			fix:   "start SPIRE's agent on the node and look at its log",
		}
	case s.Agent.ExpiresAt.IsZero():
		return fine("an agent, not banned")
	}
	return fine("an agent, not banned; its SVID ends %s", ago(s.Agent.ExpiresAt, f.Now))
}

// strangerStep is for an agent of another node attestor.
func strangerStep(f Facts) finding {
	s := f.SPIRE
	switch {
	case s.Agent == nil && s.Unknown != "":
		return spireStep(f)
	case s.Agent == nil:
		return finding{
			code: AgentUnknown, detail: "no agent of that name", cause: "SPIRE has no agent of that name",
			fix: "check the spelling: spire-server agent list",
		}
	case s.Agent.Banned:
		return banned(shown(f.Target), f.Target)
	case s.Agent.ended(f.Now):
		return finding{
			code: AgentExpired, detail: "its SVID ended " + ago(s.Agent.ExpiresAt, f.Now),
			cause: "its agent does not run, or does not reach SPIRE any more",
			fix:   "start SPIRE's agent on the node and look at its log",
		}
	case s.Observe:
		return fine("not attested by attestd, and spire.unattested is observe: its identities say so")
	}
	return unattested(shown(f.Target))
}

// settle says what came of the steps for what SPIRE issues to workloads and to agents of others: the
// index of states has the last word on nodes alone.
func settle(f Facts, out *wire.Why, missing finding) {
	out.Code, out.Cause, out.Fix = missing.code, missing.cause, missing.fix
	judged := f.SPIRE.Judged
	var undecided *attestd.UndecidedError
	switch {
	case missing.code != "":
	case judged == nil:
		out.Granted, out.Code, out.Cause = true, Granted, "nothing stands in its way; which processes get it, "+
			"their node knows: attestd why --pid N there"
	case errors.As(judged, &undecided):
		out.Code, out.Fix = SPIREUnknown, doctorSPIRE
		out.Cause = "attestd cannot tell now: " + attestd.Excerpt(judged.Error(), 200)
	default:
		out.Code, out.Fix = Changing, "attestd why "+f.Target+"   # again; if it stays so: attestd doctor"
		out.Cause = "attestd refuses it at this moment: " + attestd.Excerpt(judged.Error(), 200)
	}
}

// shown is an id as text has it: the last part of a long one cut.
func shown(id string) string {
	const most, brief = 32, 12
	at := strings.LastIndexByte(id, '/') + 1
	if len(id)-at < most {
		return attestd.Excerpt(id, 200)
	}
	return attestd.Excerpt(id[:at+brief], 200) + ".."
}
