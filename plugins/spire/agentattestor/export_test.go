package agentattestor

import (
	"context"
	"time"

	"github.com/spiffe/spire-plugin-sdk/pluginsdk"
	nodeattestorv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/nodeattestor/v1"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"

	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/host"
)

// Prepare does what comes before the first message, for a machine that needs nothing.
func Prepare(ctx context.Context, keys Keys) error {
	_, err := (&runner{machine: plain{}, keys: keys, now: time.Now}).prepare(ctx)
	return err
}

// NewBroken makes the plugin with a bug: it has no machine.
func NewBroken(env host.Env) (host.Plugin, error) {
	attestor := &Attestor{log: env.Logger, counts: env.Counts}
	attestor.configured = host.NewConfigured(env, defaults,
		func(_ context.Context, c *Config, _ host.Core) (func(), error) {
			c.run = &runner{now: time.Now}
			return nil, nil
		})
	return host.Plugin{
		Name: env.Name, Server: nodeattestorv1.NodeAttestorPluginServer(attestor),
		Services: []pluginsdk.ServiceServer{configv1.ConfigServiceServer(attestor.configured)},
	}, nil
}

// HandOver gives the key manager a certificate, or says that it could not.
func HandOver(ctx context.Context, keys Keys, enlist wire.Enlist, within time.Duration) error {
	return handOver(ctx, keys, enlist, within)
}
