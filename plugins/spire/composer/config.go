package composer

import (
	"context"
	"errors"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
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

// granter is who decides.
type granter interface {
	grant(ctx context.Context, request wire.GrantRequest) (wire.Granted, error)
}

// attestdGranter asks attestd itself. Where no answer comes in time, and only there, its keeper may have
// something to go on by.
type attestdGranter struct {
	call func(ctx context.Context, method string, in, out any) error
	kept *keeper
}

// A question may be put twice: a grant that was counted and whose answer was lost is only one too many.
func (g attestdGranter) grant(ctx context.Context, request wire.GrantRequest) (wire.Granted, error) {
	asked := g.kept.now()
	var granted wire.Granted
	err := g.call(ctx, wire.MethodGrant, request, &granted)
	if err == nil || !errors.Is(err, link.ErrUnreached) {
		g.kept.answered(request.ID, err == nil)
		return granted, err
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return wire.Granted{}, err // SPIRE asks no more
	}
	if granted, going := g.kept.grant(request, asked); going {
		return granted, nil
	}
	return wire.Granted{}, err
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
		kept := newKeeper(env, core.TrustDomain)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			kept.run(ctx, func(ctx context.Context, ask wire.HoldoverRequest) (
				answer wire.HoldoverAnswer, err error,
			) {
				err = client.Call(ctx, wire.MethodHoldover, ask, &answer)
				return answer, err
			})
		}()
		document.trustDomain, document.granter = core.TrustDomain, attestdGranter{client.Call, kept}
		return func() { cancel(); <-ended; stop() }, nil
	}
}
