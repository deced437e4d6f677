package composer

import (
	"context"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/host"
)

// document is the plugin's configuration.
type document struct {
	host.Uplink
	// Downstream is "deny" or "allow": whether this server signs CAs for SPIRE servers below it. SPIRE
	// does not say who asks, so attestd can neither decide nor count.
	Downstream string `hcl:"downstream"`

	trustDomain string
	granter     granter
}

func defaults() document { return document{Uplink: host.DefaultUplink(), Downstream: downstreamDeny} }

const (
	downstreamDeny  = "deny"
	downstreamAllow = "allow"
)

// Check implements [host.Document].
func (d *document) Check() []string {
	problems := d.Uplink.Check()
	if d.Downstream != downstreamDeny && d.Downstream != downstreamAllow {
		problems = append(problems, fmt.Sprintf("downstream: got %q, want %q or %q",
			attestd.Excerpt(d.Downstream, 40), downstreamDeny, downstreamAllow))
	}
	return problems
}

// connect sets up what a configuration names.
func connect(env host.Env) func(context.Context, *document, host.Core) (func(), error) {
	return func(_ context.Context, document *document, core host.Core) (func(), error) {
		client, stop, err := document.Connect(env, wire.MethodGrant, wire.MethodHoldover)
		if err != nil {
			return nil, err
		}
		granter, end := asking(env, core.TrustDomain, client)
		document.trustDomain, document.granter = core.TrustDomain, granter
		return func() { end(); stop() }, nil
	}
}
