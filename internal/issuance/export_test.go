package issuance

import (
	"crypto/sha256"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// Slack is how much longer than SPIRE's map what was learned is kept.
const Slack = slack

// Escape and Word write values.
var (
	Escape = escape
	Word   = word
)

// Learn takes in that a node attested itself just now.
func Learn(o *Office, id subject.ID, selectors []string) {
	o.learned.learn(id, facts{}, selectors, nil, o.config.Now())
}

// Many is how many nodes of an id are looked at one by one.
const Many = many

// Better and Anyway are after how long a statement of many nodes can get better.
const (
	Better = better
	Anyway = anyway
)

// Exactly returns the claims that hold for an id now, by a look at every node.
func Exactly(o *Office, id string) (map[string]any, error) {
	who, err := o.parse(id)
	if err != nil {
		return nil, err
	}
	now := o.config.Now()
	g := &grant{
		office: o, who: who, now: now, spread: o.current().reach(id),
		ask: wire.GrantRequest{Kind: wire.GrantWorkloadX509, ID: id},
	}
	nodes := o.learned.nodes(g.spread)
	standings := make([]live.Standing, len(nodes))
	for i, node := range nodes {
		standings[i] = o.config.Index.Check(node, now)
	}
	if _, err := g.decide(o.config.Index.Check(who.id, now), standings); err != nil {
		return nil, err
	}
	return g.said.claims(true), nil
}

// Shown returns the selectors of a node whose evidence gave the verdict, less what the registry says,
// and the claims that several such nodes would have together.
func Shown(verdicts ...attestd.Appraisal) (selected []string, claimed map[string]any) {
	var said statement
	for _, given := range verdicts {
		shown := factsOf(given, [sha256.Size]byte{1})
		selected = selectors(live.Standing{}, shown)
		said.add(live.Standing{EvidenceAt: given.At}, shown)
	}
	said.close(false)
	return selected, said.claims(true)
}
