package issuance

import (
	"slices"

	"github.com/attestd/attestd/internal/spire/wire"
)

// canary reports whether the controller's mint canary is asked for: an id that no entry has, for an
// audience that nobody accepts. It shows that SPIRE, its composer and attestd answer, whatever is said
// of identities that were not attested.
func (g *grant) canary() bool {
	return g.ask.Kind == wire.GrantWorkloadJWT && g.ask.ID == g.office.canaryID() &&
		slices.Equal(g.ask.Audience, []string{wire.CanaryAudience})
}

func (o *Office) canaryID() string { return "spiffe://" + o.config.TrustDomain + wire.CanaryPath }
