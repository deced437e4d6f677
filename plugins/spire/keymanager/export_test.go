package keymanager

import (
	"context"

	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"

	"github.com/attestd/attestd/plugins/spire/host"
)

// Plugin is the plugin as its tests call it.
type Plugin = plugin

// NewPlugin returns a plugin that reads the boot id elsewhere.
func NewPlugin(env host.Env, bootIDFile string) *Plugin {
	p := newPlugin(env)
	p.bootIDFile = bootIDFile
	return p
}

// Configure is SPIRE's call.
func (p *plugin) Configure(
	ctx context.Context, request *configv1.ConfigureRequest,
) (*configv1.ConfigureResponse, error) {
	return p.configured.Configure(ctx, request)
}

// Validate is SPIRE's call.
func (p *plugin) Validate(
	ctx context.Context, request *configv1.ValidateRequest,
) (*configv1.ValidateResponse, error) {
	return p.configured.Validate(ctx, request)
}

// Die ends what the death of the process ends: the socket and the locks. Nothing else is tidied up.
func (p *plugin) Die() {
	if p.socket != nil {
		_ = p.socket.Close()
	}
	if p.ring != nil {
		p.ring.close()
	}
}

// Unlimit lets so many signatures through that the limit is not what is measured.
func (p *plugin) Unlimit() { p.ring.limit(1 << 30) }
