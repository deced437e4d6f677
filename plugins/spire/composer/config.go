package composer

import (
	"context"

	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/host"
)

// document is the plugin's configuration.
type document struct {
	host.Uplink

	trustDomain string
	granter     granter
}

// granter is who decides. The one there is asks attestd; a snapshot that answers in its place for a
// while would be another.
type granter interface {
	grant(ctx context.Context, request wire.GrantRequest) (wire.Granted, error)
}

// attestdGranter asks attestd itself, over the link there is.
type attestdGranter struct{ client *link.Client }

// A question may be put twice: a grant that was counted and whose answer was lost is only one too many.
func (g attestdGranter) grant(ctx context.Context, request wire.GrantRequest) (wire.Granted, error) {
	var granted wire.Granted
	if err := g.client.Call(ctx, wire.MethodGrant, request, &granted); err != nil {
		return wire.Granted{}, err
	}
	return granted, nil
}

func defaults() document { return document{Uplink: host.DefaultUplink()} }

// connect sets up what a configuration names.
func connect(env host.Env) func(context.Context, *document, host.Core) (func(), error) {
	return func(_ context.Context, document *document, core host.Core) (func(), error) {
		client, stop, err := document.Connect(env, wire.MethodGrant)
		if err != nil {
			return nil, err
		}
		document.trustDomain, document.granter = core.TrustDomain, attestdGranter{client}
		return stop, nil
	}
}
