package decision

import (
	"context"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// verify looks at the links of the subject chain that came with a token: one whose token identifies it is
// verified, and how it stands is attestd's own word. Every other link stays asserted by whoever named it.
func (e *Engine) verify(ctx context.Context, in *Input, at time.Time) {
	chain := in.Context.Chain
	if len(chain) > in.Rules.MaxChain || !slices.ContainsFunc(chain, func(one Link) bool { return one.Token != "" }) {
		return
	}
	chain = slices.Clone(chain) // the question is the asker's
	in.Context.Chain = chain
	for i := range chain {
		link := &chain[i]
		token := link.Token
		link.Token = ""
		if token == "" {
			continue
		}
		who := e.config.Identifier.Identify(ctx, Credential{Token: token}, at, func(id subject.ID) uint64 {
			return e.config.Standings.Stands(id, at).Epoch
		})
		if who.Fault == "" && link.Type == linkWorkload && string(who.ID) == link.ID {
			link.stands(e.config.Standings.Stands(who.ID, at))
		}
	}
}

// own marks the links that are the caller itself: its credential was seen with this question.
func (e *Engine) own(in *Input) {
	is := func(one Link) bool { return one.Type == linkWorkload && one.ID == string(in.Who.ID) && !one.Verified }
	if len(in.Context.Chain) > in.Rules.MaxChain || !slices.ContainsFunc(in.Context.Chain, is) {
		return
	}
	in.Context.Chain = slices.Clone(in.Context.Chain)
	for i := range in.Context.Chain {
		if is(in.Context.Chain[i]) {
			in.Context.Chain[i].stands(in.Standing)
		}
	}
}

// linkWorkload is the type of a link that has an SVID.
const linkWorkload = "nhi"

// stands marks a link as verified. One that is held is as bad as the worst: whatever its score was.
func (l *Link) stands(how Standing) {
	l.Verified, l.Attested = true, how.Fault == "" && how.Attested && how.State == attestd.StateTrusted
	l.RiskTier = how.Tier.String()
	if how.Fault != "" || subject.Barred(how.State) {
		l.RiskTier = attestd.TierCritical.String()
	}
}
