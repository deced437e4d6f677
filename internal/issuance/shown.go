package issuance

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// Judge says what Grant would say to an X509-SVID of the id, and counts nothing. For an agent that
// leaves out the ticket, and for what is issued for evidence alone it is always a refusal: both need
// evidence of the last minute, which is nobody's state.
//
// Errors: as of Grant.
func (o *Office) Judge(ctx context.Context, id string) error {
	who, err := o.parse(id)
	if err != nil {
		return err
	}
	now := o.config.Now()
	g := &grant{
		office: o, who: who, now: now, ask: wire.GrantRequest{Kind: wire.GrantWorkloadX509, ID: id},
	}
	own := o.config.Index.Check(who.id, now)
	switch {
	case who.ours():
		if !own.Grants() {
			return refusal(own)
		}
		return nil
	case who.agent():
		_, err = g.stranger(own, nil)
		return err
	case who.under(o.config.AttestedOnly):
		return denied("ask POST /v1/svid, with evidence that binds the key", "%s is issued for evidence alone",
			who.id)
	}
	if g.spread, err = o.reach(ctx, id); err != nil {
		return err
	}
	nodes := o.learned.nodes(g.spread)
	standings := make([]live.Standing, len(nodes))
	for i, node := range nodes {
		standings[i] = o.config.Index.Check(node, now)
	}
	_, err = g.decide(own, standings)
	return err
}

// EvidenceAlone reports whether the id is issued for evidence alone.
func (o *Office) EvidenceAlone(id string) bool {
	who, err := o.parse(id)
	return err == nil && who.under(o.config.AttestedOnly)
}

// Agent returns an agent as SPIRE's last map has it.
func (o *Office) Agent(id string) (wire.Agent, bool) {
	atlas := o.current()
	if atlas == nil {
		return wire.Agent{}, false
	}
	one, there := atlas.agent(id)
	if !there {
		return wire.Agent{}, false
	}
	return wire.Agent{
		ID: id, Selectors: slices.Clone(one.selectors), Banned: one.banned, ExpiresAt: one.expires,
	}, true
}

// Mapped says when SPIRE was last known to have what the map says; zero where there is no map.
func (o *Office) Mapped() time.Time {
	atlas := o.current()
	if atlas == nil {
		return time.Time{}
	}
	return *atlas.arrived.Load()
}

// Alike returns the ids of SPIRE's that differ from this one in case alone.
func (o *Office) Alike(id string) []string {
	atlas := o.current()
	if atlas == nil {
		return nil
	}
	var alike []string
	for _, one := range atlas.spellings(subject.ID(id)) {
		if one != id && !slices.Contains(alike, one) {
			alike = append(alike, one)
		}
	}
	return alike
}

// Below returns ids that the agent can obtain by SPIRE's last map, in order and at most so many.
func (o *Office) Below(agent subject.ID, most int) []string {
	atlas := o.current()
	if atlas == nil {
		return nil
	}
	return atlas.below(string(agent), most)
}

// listed returns an agent of SPIRE's last map, nil where there is none.
func (o *Office) listed(id string) *agent {
	if atlas := o.current(); atlas != nil {
		if one, there := atlas.agent(id); there {
			return &one
		}
	}
	return nil
}

func (o *Office) current() *atlas {
	o.spread.mu.RLock()
	defer o.spread.mu.RUnlock()
	return o.spread.atlas
}

// below goes down from an agent: to what has it for its parent, to the aliases that it matches, and on
// from each. It reads the whole map, once for each level, and is for people who ask.
func (a *atlas) below(agentID string, most int) []string {
	has, _ := a.agent(agentID)
	above := map[uint32]bool{}
	if number, known := a.numbers[agentID]; known {
		above[number] = true
	}
	found := map[uint32]bool{}
	for grown := true; grown; {
		grown = false
		for id := range a.names {
			number := uint32(id) //nolint:gosec // bounded by what a link carries
			for _, one := range a.rows[a.first[id]:a.first[id+1]] {
				alias := one.condition != 0
				reached := above[one.parent]
				if alias {
					condition := a.conditions[one.condition-1]
					reached = len(condition) != 0 && hasAll(has.selectors, condition)
				}
				if !reached {
					continue
				}
				if !above[number] {
					above[number], grown = true, true
				}
				if !alias {
					found[number] = true
				}
			}
		}
	}
	ids := make([]string, 0, min(len(found), most))
	for number := range found {
		ids = append(ids, strings.Clone(a.names[number]))
	}
	slices.Sort(ids)
	return ids[:min(len(ids), most)]
}
