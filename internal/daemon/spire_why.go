package daemon

import (
	"context"
	"errors"
	"slices"
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
	// settling is how long after its evidence SPIRE may not have written an agent down yet.
	settling = 10 * time.Second
)

// Look implements [why.SPIRE].
func (s spireShown) Look(ctx context.Context, id string) *why.Shown {
	office := s.parts.spire.office
	if office == nil || !strings.HasPrefix(id, "spiffe://") {
		return nil
	}
	ctx, stop := context.WithTimeout(ctx, lookWait)
	defer stop()
	judged := office.Judge(ctx, id)
	shown := &why.Shown{
		Kind: s.kind(id, judged), TrustDomain: s.domain, Judged: judged, MapAt: office.Mapped(),
		Observe: s.settings.Unattested == config.UnattestedObserve, Longest: maxX509,
	}
	s.canaries(shown)
	switch shown.Kind {
	case why.OfWorkload:
		s.workload(ctx, id, shown)
	case why.OfNode, why.OfStranger:
		s.node(ctx, id, shown)
	}
	return shown
}

// kind says what the id stands for.
func (s spireShown) kind(id string, judged error) why.Kind {
	var caller *attestd.CallerError
	path, mine := strings.CutPrefix(id, "spiffe://"+s.domain+"/")
	switch {
	case !mine:
		return why.OfOther
	case errors.As(judged, &caller) && caller.Class == attestd.ClassForbidden:
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
	for _, one := range now.entries {
		if one.SPIFFEID == id {
			shown.Entries = append(shown.Entries, entryOf(one))
		}
	}
	nodes, mapped := office.Nodes(id)
	shown.Mapped = mapped
	for _, node := range nodes[:min(len(nodes), mostNodes)] {
		one := why.Node{ID: node, Agent: now.agent(string(node))}
		evidence := s.parts.index.Check(node, s.parts.store.Now()).EvidenceAt
		if one.Agent == nil && evidence.After(office.Mapped().Add(-settling)) {
			one.Agent = &why.Agent{} // SPIRE writes it down after attestd has answered
		}
		shown.Nodes = append(shown.Nodes, one)
	}
	shown.Alike = office.Alike(id)
}

// node adds what SPIRE has of an agent, and the entries that it can obtain.
func (s spireShown) node(ctx context.Context, id string, shown *why.Shown) {
	ids := s.parts.spire.office.Below(subject.ID(id), mostShown)
	now := s.refresh(ctx, append([]string{id}, ids...), shown)
	shown.Agent = now.agent(id)
	for _, one := range now.entries {
		if slices.Contains(ids, one.SPIFFEID) {
			shown.Entries = append(shown.Entries, entryOf(one))
		}
	}
}

// answer is what SPIRE said now, over what it had at the last map.
type answer struct {
	entries []wire.Entry
	agents  []wire.Agent
	// asked are the ids that it was asked about: what it did not name of them, it does not have.
	asked map[string]bool
	last  func(id string) (wire.Agent, bool)
}

// refresh asks SPIRE itself. Where it cannot be asked, what is known is that of the last map.
func (s spireShown) refresh(ctx context.Context, ids []string, shown *why.Shown) answer {
	out := answer{asked: map[string]bool{}, last: s.parts.spire.office.Agent}
	now, err := s.parts.spire.controller.Refresh(ctx, ids)
	if err != nil {
		shown.Unknown = attestd.Excerpt(err.Error(), 200)
		return out
	}
	shown.MapAt = s.parts.store.Now()
	out.entries, out.agents = now.Entries, now.Agents
	for _, id := range ids {
		out.asked[id] = true
	}
	for _, one := range now.Entries {
		out.asked[one.ParentID] = true
	}
	return out
}

// agent returns an agent of SPIRE's; nil where it has none.
func (a answer) agent(id string) *why.Agent {
	for _, one := range a.agents {
		if one.ID == id {
			return agentOf(one)
		}
	}
	if one, there := a.last(id); there && !a.asked[id] {
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
