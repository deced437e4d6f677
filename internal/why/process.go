package why

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
)

// Process is what attestd's workload attestor says, on a node, of one process and of the node.
type Process struct {
	PID   int32
	Alive bool
	// Path of the executable, SHA256 of it in hex, and its name for the node's tenant; empty for none.
	Path, SHA256, Workload string
	// Selectors that SPIRE is told, without their type; Reasons why some are withheld.
	Selectors, Reasons []string
	// Agent is the node's own id; empty before it ever attested.
	Agent string
	// Admitted says that selectors are given now; State and Tier are those that attestd told last.
	Admitted bool
	State    attestd.State
	Tier     attestd.Tier
	// Age is how old the latest word of attestd's is, IssuedAt its time, zero for none; from Bound on
	// selectors are withheld.
	Age, Bound time.Duration
	IssuedAt   time.Time
	// Problem is what was in the way of attestd's word last.
	Problem string
	// Server is what the server says of the id that is meant, or of the node; nil where it was not asked.
	Server *wire.Why
}

// ExplainProcess says what stands between a process on this node and an identity.
func ExplainProcess(process Process) wire.Why {
	out := wire.Why{Schema: Schema, Target: fmt.Sprintf("pid %d", process.PID), Steps: []wire.WhyStep{}}
	missing := finding{}
	for _, step := range []struct {
		name string
		look func(Process) finding
	}{
		{"process", processStep}, {"node", ownNodeStep}, {"attestd", streamStep}, {"state", admittedStep},
		{"server", serverStep}, {"entry", matchStep}, {"executable", nameStep},
	} {
		found := step.look(process)
		if found.skipped {
			continue
		}
		out.Steps = append(out.Steps, wire.WhyStep{Name: step.name, OK: found.code == "", Detail: found.detail})
		if found.code != "" && missing.code == "" {
			missing = found
		}
		if found.ends {
			break
		}
	}
	out.Code, out.Cause, out.Fix = missing.code, missing.cause, missing.fix
	if missing.code == "" {
		out.Granted, out.Code = true, Granted
		out.Cause = "nothing of attestd's stands in its way"
		if process.Server == nil {
			out.Cause += " on this node; --server ADDRESS looks at SPIRE's entries, too"
		}
	}
	if process.Server != nil {
		out.Entries = process.Server.Entries
	}
	return out
}

func processStep(p Process) finding {
	if p.Alive {
		return fine("%s", attestd.Excerpt(cmp.Or(p.Path, "its executable is not known"), 200))
	}
	return finding{
		code: NoProcess, detail: "not there", ends: true,
		cause: "there is no such process on this node, or it ended while it was looked at",
		fix:   "pidof NAME   # in the agent's PID namespace",
	}
}

func ownNodeStep(p Process) finding {
	if p.Agent != "" {
		return fine("%s", shown(p.Agent))
	}
	return finding{
		code: NoStream, detail: "not attested yet", ends: true,
		cause: "the agent on this node has not attested itself by attestd: " +
			attestd.Excerpt(cmp.Or(p.Problem, "it says no more"), 200),
		fix: "look at the log of SPIRE's agent; attestd doctor --only spire",
	}
}

func streamStep(p Process) finding {
	switch {
	case p.IssuedAt.IsZero():
		return finding{
			code: NoStream, detail: "no word of attestd's yet", ends: true,
			cause: "attestd has told this node nothing: " + attestd.Excerpt(cmp.Or(p.Problem, "no connection"), 200),
			fix:   "see whether the node reaches spire.listen of attestd; attestd doctor --only spire",
		}
	case p.Age >= p.Bound:
		return finding{
			code: NoStream, detail: fmt.Sprintf("its last word is %s old, want less than %s",
				p.Age.Round(time.Second), p.Bound), ends: true,
			cause: "the node does not reach attestd, and selectors are withheld from " + p.Bound.String() + " on: " +
				attestd.Excerpt(cmp.Or(p.Problem, "no connection"), 200),
			fix: "see whether attestd runs, and whether the node reaches it: attestd status",
		}
	}
	return fine("its word is %s old at most", p.Age.Round(time.Millisecond))
}

func admittedStep(p Process) finding {
	detail := fmt.Sprintf("%s, tier %s", p.State, p.Tier)
	if p.Admitted {
		return fine("%s", detail)
	}
	out := finding{
		code: Suspect, detail: detail, ends: true, cause: "attestd does not admit this node: it is " + detail,
		fix: "attestd why " + p.Agent,
	}
	switch p.State {
	case attestd.StateQuarantined:
		out.code = Quarantined
	case attestd.StateRevoked:
		out.code = Revoked
	}
	if said := p.Server; said != nil && !said.Granted && said.Code != NoEntry {
		out.code, out.cause, out.fix = said.Code, said.Cause, said.Fix
	}
	if len(p.Reasons) > 0 && p.Server == nil {
		out.cause += ": " + attestd.Excerpt(p.Reasons[0], 200)
	}
	return out
}

func serverStep(p Process) finding {
	switch said := p.Server; {
	case said == nil:
		return finding{skipped: true}
	case said.Granted:
		return fine("%s: granted", shown(said.Target))
	default:
		return finding{
			code: said.Code, detail: shown(said.Target) + ": " + said.Code, cause: said.Cause, fix: said.Fix, ends: true,
		}
	}
}

// matchStep looks for an entry whose selectors of attestd's the process has; the others SPIRE's own
// attestors give. Where there is none the nearest is shown.
func matchStep(p Process) finding {
	if p.Server == nil {
		return finding{skipped: true}
	}
	if len(p.Server.Entries) == 0 {
		return finding{
			code: NoEntry, detail: "none for this node",
			cause: "SPIRE has no registration entry that this node can obtain",
			fix: "spire-server entry create -parentID " + p.Agent + " -spiffeID ID -selector attestd:admitted:yes " +
				"-selector ...",
		}
	}
	lacks := func(entry wire.WhyEntry) (missing []string) {
		for _, one := range entry.Selectors {
			value, ours := strings.CutPrefix(one, ourType+":")
			if ours && !slices.Contains(p.Selectors, value) {
				missing = append(missing, value)
			}
		}
		return missing
	}
	nearest := slices.MinFunc(p.Server.Entries, func(a, b wire.WhyEntry) int {
		return cmp.Or(cmp.Compare(len(lacks(a)), len(lacks(b))), strings.Compare(a.ID, b.ID))
	})
	missing := lacks(nearest)
	if len(missing) == 0 {
		return fine("%s for %s: has all of attestd's selectors; wants %s", nearest.ID, shown(nearest.SPIFFEID),
			attestd.Excerpt(strings.Join(nearest.Selectors, " "), 300))
	}
	out := finding{
		code: Selectors, detail: fmt.Sprintf("%s wants attestd:%s; has %s", nearest.ID, missing[0],
			have(p.Selectors, missing[0])),
	}
	out.cause = "the nearest entry, " + out.detail
	out.fix = "change the entry (spire-server entry update -entryID " + nearest.ID + " ...), or what it asks for"
	wanted, named := strings.CutPrefix(missing[0], "workload:")
	if named && p.Workload == "" {
		out.code = NotNamed
		out.cause = "the executable's SHA-256 " + cmp.Or(p.SHA256, "(not known)") + " has no name for this node's tenant"
		out.fix = "add it below " + wanted + " to a file of spire.workloads; then kill -HUP attestd"
	}
	return out
}

// have is what there is of the kind of a selector that is wanted.
func have(selectors []string, want string) string {
	kind, _, _ := strings.Cut(want, ":")
	for _, one := range selectors {
		if strings.HasPrefix(one, kind+":") {
			return "attestd:" + one
		}
	}
	return "(none)"
}

func nameStep(p Process) finding {
	digest := cmp.Or(p.SHA256, "not known")
	if p.Workload == "" {
		return fine("sha256 %s, which has no name", digest)
	}
	return fine("sha256 %s is %s", digest, attestd.Excerpt(p.Workload, 80))
}
