package issuance

import (
	"context"
	"errors"
	"hash/maphash"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// standWithin is how long it may take to ask the controller for the entries of an id that the map does
// not have.
const standWithin = 50 * time.Millisecond

// errStands ends a grant that is only looked at: what ends with an error is not counted.
var errStands = errors.New("issuance: looked at, and not granted")

// Sequence is the number of the last change of state that is effective ([live.Index.Sequence]).
func (o *Office) Sequence() uint64 { return o.config.Index.Sequence() }

// Stands says how an id stands at a moment, by the rules that a credential of it is granted by, and
// counts nothing. An id of another trust domain is not attested here. What is issued for evidence alone
// has no node that it goes on running on: it is as good as the evidence of the minute that it was issued
// in, and not attested afterwards.
func (o *Office) Stands(id subject.ID, at time.Time) decision.Standing {
	now := o.still()
	if seen, found := o.stood.Get(id); found && seen.still == now && seen.until(at) {
		return seen.standing
	}
	out := o.stand(id, at)
	if out.Fault == "" {
		o.stood.Add(id, stood{still: now, at: at, standing: out})
	}
	return out
}

// maxStood are the ids whose standing is remembered, stoodFor is for how long: times run out beside
// changes of state.
const (
	maxStood = 1 << 16
	stoodFor = time.Second
)

// stood is how an id stood when it was looked at last.
type stood struct {
	still    still
	at       time.Time
	standing decision.Standing
}

// still is what a standing rests on. It is read before the states are, so that what is remembered under
// it is never older than it says.
type still struct {
	sequence, news uint64
	atlas          *atlas
}

func (o *Office) still() still {
	out := still{sequence: o.Sequence(), news: o.learned.news.Load()}
	o.spread.mu.RLock()
	defer o.spread.mu.RUnlock()
	out.atlas = o.spread.atlas
	return out
}

// until reports whether what was seen still holds by the clock.
func (s *stood) until(at time.Time) bool {
	age := at.Sub(s.at)
	return age >= 0 && age < stoodFor && (s.standing.DueAt.IsZero() || at.Before(s.standing.DueAt))
}

// stand looks at the id.
func (o *Office) stand(id subject.ID, at time.Time) decision.Standing {
	who, err := o.parse(string(id))
	if err != nil {
		return decision.Standing{State: attestd.StateUnknown, Status: statusNone}
	}
	g := &grant{office: o, who: who, now: at, ask: wire.GrantRequest{Kind: wire.GrantWorkloadJWT, ID: string(id)}}
	own := o.config.Index.Check(who.id, at)
	s := &stand{grant: g, own: own, worst: own.State}
	switch {
	case o.config.Index.Since().IsZero():
		return decision.Standing{Status: statusNone, Fault: decision.CodeStateUnavailable}
	case who.agent():
		if who.ours() && own.Grants() {
			g.said.add(own, o.learned.of(own.ID))
			g.said.close(false)
		}
		return s.standing(0)
	case who.under(o.config.AttestedOnly):
		return s.standing(0)
	}
	return s.onNodes()
}

// statusNone is the EAR status of what nothing is known of.
const statusNone = "none"

// stand is one look at an id.
type stand struct {
	grant *grant
	// own is how the name itself stands; worst is the worst hold that was met.
	own   live.Standing
	worst attestd.State
	mix   uint64
}

func (s *stand) onNodes() decision.Standing {
	g, o := s.grant, s.grant.office
	var err error
	limited, cancel := context.WithTimeout(context.Background(), standWithin)
	defer cancel()
	if g.spread, err = o.reach(limited, string(g.who.id)); err != nil {
		out := s.standing(0)
		out.Fault = decision.CodeStateUnavailable
		return out
	}
	nodes := g.spread.nodes
	if len(nodes) <= many {
		nodes = o.learned.nodes(g.spread)
	}
	if len(nodes) <= many {
		standings := make([]live.Standing, len(nodes))
		held := attestd.StateUnknown
		for i, node := range nodes {
			standings[i] = o.config.Index.Check(node, g.now)
			s.mix = s.mix*31 + standings[i].Epoch + uint64(standings[i].State)<<56
			if subject.Barred(standings[i].State) {
				held = max(held, standings[i].State)
			}
		}
		// A node that SPIRE bans is none that the caller runs on any more, and what it was banned for is what
		// holds the caller.
		for _, node := range g.spread.banned {
			state := o.config.Index.Check(node, g.now).State
			s.mix = s.mix*31 + uint64(state)<<56
			if subject.Barred(state) {
				held = max(held, state)
			}
		}
		// An error says that nothing is granted, and the statement says why: it attests nothing then, or
		// evidence that is due.
		_, _ = g.decide(live.Standing{}, standings)
		// Where every node that it could run on is held, it is held.
		if g.said.n == 0 && held > s.worst {
			s.worst = held
		}
		return s.standing(len(nodes))
	}
	err = g.onNodes(
		func(own live.Standing, each []live.Standing) (int, error) {
			_, _ = g.decide(own, each) // as above
			return 0, errStands
		},
		func(*live.Group) (int, error) { return 0, errStands },
	)
	var refused *attestd.CallerError
	if err != nil && !errors.Is(err, errStands) && !errors.As(err, &refused) {
		out := s.standing(0)
		out.Fault = decision.CodeStateUnavailable
		return out
	}
	if !errors.Is(err, errStands) {
		g.said = statement{}
	}
	return s.standing(len(nodes))
}

// seedOfEpochs is of this process: epochs are compared, and never stored to be.
var seedOfEpochs = maphash.MakeSeed()

// standing is what the statement comes to, with what speaks against the name itself.
func (s *stand) standing(nodes int) decision.Standing {
	said := &s.grant.said
	out := decision.Standing{
		State: attestd.StateUnknown, Attested: said.attested, Status: said.status(),
	}
	if subject.Barred(s.worst) {
		out.State = s.worst
	}
	if said.attested {
		risk := said.risk.Int()
		if s.own.Known && s.own.Format == "" {
			risk += s.own.Risk.Int() // signals about the name: they add to what its nodes come to
		}
		out.Risk = attestd.Risk(risk)
		out.Tier = out.Risk.Tier()
		out.Tenant, out.TEE, out.Measurement = said.tenant, said.tee, said.measurement
		out.KeyGrade, out.Devices = string(said.grade), said.devices
		if said.composed {
			out.Edge = said.edge.String()
		}
		out.AttestedAt, out.DueAt = said.at.UTC(), said.due.UTC()
		if out.State == attestd.StateUnknown {
			out.State = attestd.StateTrusted
		}
		if out.Tier == attestd.TierHigh || out.Tier == attestd.TierCritical {
			out.Status = "contraindicated"
		} else if out.Tier == attestd.TierMedium {
			out.Status = "warning"
		}
	}
	out.Epoch = s.epoch(out, nodes)
	return out
}

// epoch tells any two standings apart that a decision could differ by.
func (s *stand) epoch(out decision.Standing, nodes int) uint64 {
	type facts struct {
		own, mix              uint64
		risk, nodes           int
		state                 attestd.State
		attested              bool
		tenant, tee, measured string
		devices, edge, grade  string
		attestedAt, dueAt     int64
	}
	return max(1, maphash.Comparable(seedOfEpochs, facts{
		own: s.own.Epoch, mix: s.mix, risk: out.Risk.Int(), nodes: nodes, state: out.State,
		attested: out.Attested, tenant: out.Tenant, tee: out.TEE, measured: out.Measurement,
		devices: out.Devices, edge: out.Edge, grade: out.KeyGrade, attestedAt: out.AttestedAt.Unix(),
		dueAt: out.DueAt.Unix(),
	}))
}
