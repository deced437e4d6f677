package nodeattestor

import (
	"time"

	"github.com/attestd/attestd/plugins/spire/host"
)

// NewImpatient makes the plugin with less patience for a silent node.
func NewImpatient(env host.Env, silence time.Duration) (host.Plugin, error) {
	return newPlugin(env, silence, nil)
}

// NewOver makes the plugin over another way to attestd than a link.
func NewOver(env host.Env, attestd Caller) (host.Plugin, error) {
	return newPlugin(env, silence, attestd)
}
