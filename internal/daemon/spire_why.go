package daemon

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/internal/why"
)

// spireShown says for people what SPIRE has of an id.
type spireShown struct {
	parts    *parts
	settings config.SPIRE
	domain   string
}

// What a look at SPIRE takes at the most.
const (
	lookWait = time.Second
	// mostShown is how many entries of a node are shown, mostNodes how many nodes of an id.
	mostShown = 48
	mostNodes = 20_000
)

// Look implements [why.SPIRE].
func (s spireShown) Look(ctx context.Context, id string) *why.Shown {
	office := s.parts.spire.office
	if office == nil || !strings.HasPrefix(id, "spiffe://") {
		return nil
	}
	ctx, stop := context.WithTimeout(ctx, lookWait)
	defer stop()
	shown := &why.Shown{
		Kind: s.kind(id), TrustDomain: s.domain, Observe: s.settings.Unattested == config.UnattestedObserve,
		MapAt: office.Mapped(), Longest: maxX509,
	}
	s.canaries(shown)
	switch shown.Kind {
	case why.OfWorkload, why.OfEvidence, why.OfNode, why.OfStranger:
	default:
		return shown
	}
	shown.Judged = office.Judge(ctx, id)
	switch shown.Kind {
	case why.OfWorkload:
		s.workload(ctx, id, shown)
	case why.OfNode, why.OfStranger:
		s.node(ctx, id, shown)
	}
	return shown
}

// kind says what the id stands for.
func (s spireShown) kind(id string) why.Kind {
	var caller *attestd.CallerError
	path, mine := strings.CutPrefix(id, "spiffe://"+s.domain+"/")
	switch err := s.parts.spire.office.Judge(context.Background(), id); {
	case !mine:
		return why.OfOther
	case errors.As(err, &caller) && caller.Class == attestd.ClassForbidden:
		return why.OfSPIRE
	case strings.HasPrefix(path, "spire/agent/attestd/"):
		return why.OfNode
	case strings.HasPrefix(path, "spire/agent/"):
		return why.OfStranger
	case s.parts.spire.office.EvidenceAlone(id):
		return why.OfEvidence
	}
	return why.OfWorkload
}

func (s spireShown) canaries(shown *why.Shown) {
	for _, one := range s.parts.spire.front.Status().Canaries {
		canary := why.Canary{OK: one.Result.OK, At: one.At, Error: one.Result.Error}
		switch one.Result.Name {
		case "mint":
			shown.Mint = canary
		case "attestation":
			shown.Attestation = canary
		}
	}
}

// workload adds the entries of an id, as SPIRE has them now, and the nodes that can obtain it.
func (s spireShown) workload(ctx context.Context, id string, shown *why.Shown) {
	office := s.parts.spire.office
	now := s.refresh(ctx, []string{id}, shown)
	for _, one := range now.Entries {
		if one.SPIFFEID == id {
			shown.Entries = append(shown.Entries, entryOf(one))
		}
	}
	nodes, _ := office.Nodes(id)
	for _, node := range nodes[:min(len(nodes), mostNodes)] {
		shown.Nodes = append(shown.Nodes, why.Node{ID: node, Agent: s.agent(string(node), now)})
	}
	shown.Alike = office.Alike(id)
}

// node adds what SPIRE has of an agent, and the entries that it can obtain.
func (s spireShown) node(ctx context.Context, id string, shown *why.Shown) {
	ids := s.parts.spire.office.Below(subject.ID(id), mostShown)
	now := s.refresh(ctx, append([]string{id}, ids...), shown)
	shown.Agent = s.agent(id, now)
	for _, one := range now.Entries {
		for _, below := range ids {
			if one.SPIFFEID == below {
				shown.Entries = append(shown.Entries, entryOf(one))
			}
		}
	}
}

// refresh asks SPIRE itself. Where it cannot be asked, what is known is that of the last map.
func (s spireShown) refresh(ctx context.Context, ids []string, shown *why.Shown) wire.Map {
	now, err := s.parts.spire.controller.Refresh(ctx, ids)
	if err != nil {
		shown.Unknown = attestd.Excerpt(err.Error(), 200)
		return wire.Map{}
	}
	shown.MapAt = s.parts.store.Now()
	return now
}

// agent returns an agent as SPIRE has it now, or had it at the last map.
func (s spireShown) agent(id string, now wire.Map) *why.Agent {
	for _, one := range now.Agents {
		if one.ID == id {
			return agentOf(one)
		}
	}
	if one, there := s.parts.spire.office.Agent(id); there {
		return agentOf(one)
	}
	return nil
}

func agentOf(one wire.Agent) *why.Agent {
	return &why.Agent{Banned: one.Banned, ExpiresAt: fromUnix(one.ExpiresAt)}
}

func entryOf(one wire.Entry) why.Entry {
	out := why.Entry{
		ID: one.ID, SPIFFEID: one.SPIFFEID, ParentID: one.ParentID, ExpiresAt: fromUnix(one.Expires),
		X509TTL: time.Duration(one.X509TTL) * time.Second,
	}
	for _, selector := range one.Selectors {
		out.Selectors = append(out.Selectors, why.Selector{Type: selector.Type, Value: selector.Value})
	}
	return out
}

func fromUnix(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

