package nodeattestor

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spiffe/spire-plugin-sdk/pluginsdk"
	nodeattestorv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/nodeattestor/v1"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/attestwire"
	"github.com/attestd/attestd/plugins/spire/host"
)

// Config is the plugin's part of the SPIRE server's configuration.
type Config struct {
	host.Uplink
	// TrustDomain that challenges must be for. It is SPIRE's own; written out, the plugin starts in
	// no other.
	TrustDomain string `hcl:"trust_domain"`
	// CanaryTenant is a tenant of attestd's, which canaries ask for a challenge for.
	CanaryTenant string `hcl:"canary_tenant"`

	run *settings
}

// Time limits. A judgement waits for its turn at attestd, which takes long when many machines start
// at once.
const (
	defaultTimeout = 20 * time.Second
	silence        = 30 * time.Second
)

func defaults() Config {
	config := Config{Uplink: host.DefaultUplink(), CanaryTenant: "default"}
	config.Timeout = defaultTimeout
	return config
}

// Check implements [host.Document].
func (c *Config) Check() []string {
	problems := c.Uplink.Check()
	if err := attestwire.CheckTenant(c.CanaryTenant); err != nil {
		problems = append(problems, "canary_tenant: "+err.Error())
	}
	return problems
}

// mostExchanges is how many nodes are attested at once. Anybody who reaches the SPIRE server can
// begin an exchange and say nothing more.
const mostExchanges = 4096

// Attestor is the plugin.
type Attestor struct {
	nodeattestorv1.UnsafeNodeAttestorServer

	log        hclog.Logger
	counts     *host.Counts
	configured *host.Configured[Config]
	places     chan struct{}
}

// New makes the plugin. It starts nothing before it is configured.
func New(env host.Env) (host.Plugin, error) { return newPlugin(env, silence, nil) }

// newPlugin makes the plugin; tests have less patience, and stand in for attestd.
func newPlugin(env host.Env, silence time.Duration, instead Caller) (host.Plugin, error) {
	attestor := &Attestor{log: env.Logger, counts: env.Counts,
		places: make(chan struct{}, mostExchanges)}
	attestor.configured = host.NewConfigured(env, defaults,
		func(_ context.Context, c *Config, core host.Core) (func(), error) {
			client, stop, err := c.Connect(env, wire.MethodNodeBegin)
			if err != nil {
				return nil, err
			}
			c.run = &settings{
				trustDomain: core.TrustDomain, canaryTenant: c.CanaryTenant, attestd: client,
				silence: silence, judging: c.Timeout, now: time.Now,
			}
			if instead != nil {
				c.run.attestd = instead
			}
			return stop, nil
		})
	return host.Plugin{
		Name: env.Name, Server: nodeattestorv1.NodeAttestorPluginServer(attestor),
		Services: []pluginsdk.ServiceServer{configv1.ConfigServiceServer(attestor.configured)},
	}, nil
}

// Attest attests one node.
func (a *Attestor) Attest(stream nodeattestorv1.NodeAttestor_AttestServer) error {
	config, release, err := a.configured.Acquire()
	if err != nil {
		return err
	}
	defer release()
	select {
	case a.places <- struct{}{}:
		defer func() { <-a.places }()
	default:
		a.counts.Add("busy")
		return status.Error(codes.Unavailable, "attestd: too many nodes attest at once, try again")
	}
	attributes, err := a.guarded(stream, config.run)
	if err == nil {
		a.counts.Add("attested")
		return stream.Send(&nodeattestorv1.AttestResponse{
			Response: &nodeattestorv1.AttestResponse_AgentAttributes{AgentAttributes: attributes},
		})
	}
	return a.told(stream.Context(), err)
}

// guarded ends a panic here: one hostile message must not take the plugin away from every other
// node.
func (a *Attestor) guarded(
	stream nodeattestorv1.NodeAttestor_AttestServer, run *settings,
) (attributes *nodeattestorv1.AgentAttributes, err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			a.counts.Add("panics")
			a.log.Error("attestation panicked, and the plugin goes on",
				"panic", attestd.Excerpt(fmt.Sprint(panicked), 200), "stack", string(debug.Stack()))
			attributes, err = nil, status.Error(codes.Internal,
				"attestd: internal error in the plugin, see SPIRE's log")
		}
	}()
	return run.attest(stream, a.log)
}

// told writes down what went wrong and says what SPIRE and the node may know of it.
func (a *Attestor) told(ctx context.Context, err error) error {
	out := err
	if _, is := status.FromError(err); !is {
		out = host.ErrorOf(err)
	} else if bad := (*badAnswer)(nil); errors.As(err, &bad) {
		out = bad.GRPCStatus().Err()
	}
	code := status.Code(out)
	if code == codes.FailedPrecondition { // a canary
		a.counts.Add("canaries")
		return out
	}
	a.counts.Add("refused_" + code.String())
	about := []any{"code", code.String(), "err", attestd.Excerpt(err.Error(), 400), "source",
		sourceOf(ctx)}
	if linked := (*link.Error)(nil); errors.As(err, &linked) {
		about = append(about, "class", linked.Class, "appraisal", linked.AppraisalID, "hint",
			linked.Hint)
	}
	a.log.Warn("node was not attested", about...)
	return out
}
