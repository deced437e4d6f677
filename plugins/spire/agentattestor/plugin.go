package agentattestor

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spiffe/spire-plugin-sdk/pluginsdk"
	nodeattestorv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/nodeattestor/v1"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/host"
	"github.com/attestd/attestd/plugins/spire/keysocket"
)

// Attestor is the plugin.
type Attestor struct {
	nodeattestorv1.UnsafeNodeAttestorServer

	log        hclog.Logger
	counts     *host.Counts
	configured *host.Configured[Config]
}

// New makes the plugin. It starts nothing before it is configured.
func New(env host.Env) (host.Plugin, error) {
	attestor := &Attestor{log: env.Logger, counts: env.Counts}
	attestor.configured = host.NewConfigured(env, defaults,
		func(_ context.Context, c *Config, core host.Core) (func(), error) {
			return c.start(core.TrustDomain, env.Logger)
		})
	return host.Plugin{
		Name: env.Name, Server: nodeattestorv1.NodeAttestorPluginServer(attestor),
		Services: []pluginsdk.ServiceServer{configv1.ConfigServiceServer(attestor.configured)},
	}, nil
}

// start sets up what the configuration names.
func (c *Config) start(trustDomain string, log hclog.Logger) (stop func(), err error) {
	run := &runner{
		format: attestd.Format(c.Format), tenant: c.Tenant, trustDomain: trustDomain,
		tokenFile: c.EnrolmentTokenFile, now: time.Now,
	}
	if run.machine, err = c.open(); err != nil {
		return nil, withHint(err)
	}
	if c.VerifierKeysFile != "" {
		if run.keySet, err = readFile(c.VerifierKeysFile, maxKeys); err != nil {
			return nil, fmt.Errorf("verifier_keys_file: %w", err)
		}
	}
	if c.KeyBinding == bindingRequired {
		run.keys = socketKeys{c.RuntimeDir}
	} else {
		log.Warn("the agent's key is not bound to the evidence: whoever relays this " +
			"machine's evidence can have an SVID for his own key; \"required\" ends that")
	}
	if run.format == attestd.FormatSEVSNP || run.format == attestd.FormatTDX {
		log.Warn("evidence of a CPU alone names no instance: attestd gives this machine an id only " +
			"where it knows it by something else; format = \"composite\" adds its TPM")
	}
	c.run = run
	return nil, nil
}

// socketKeys is the key manager behind the socket in a folder. The folder is opened for each call:
// SPIRE may configure this plugin before the key manager, which makes it.
type socketKeys struct{ folder string }

func (s socketKeys) with(use func(*keysocket.Client) error) error {
	client, err := keysocket.Dial(s.folder)
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // a folder that was only looked into
	return use(client)
}

func (s socketKeys) Newest(ctx context.Context) (key AgentKey, err error) {
	err = s.with(func(client *keysocket.Client) error {
		key, err = client.Newest(ctx)
		return err
	})
	return key, err
}

func (s socketKeys) PutEnlist(ctx context.Context, enlist wire.Enlist) error {
	return s.with(func(client *keysocket.Client) error { return client.PutEnlist(ctx, enlist) })
}

func withHint(err error) error {
	var caller *attestd.CallerError
	if errors.As(err, &caller) && caller.Hint != "" {
		return fmt.Errorf("%w%s", err, hinted(caller.Hint))
	}
	return err
}

// AidAttestation attests this machine once.
func (a *Attestor) AidAttestation(stream nodeattestorv1.NodeAttestor_AidAttestationServer) error {
	config, release, err := a.configured.Acquire()
	if err != nil {
		return err
	}
	defer release()
	if err := a.guarded(stream, config.run); err != nil {
		a.counts.Add("failed")
		err = told(err)
		// SPIRE ends the stream where its server refused, and logs the reason itself.
		if code := status.Code(err); code == codes.Canceled || code == codes.Aborted {
			a.log.Warn("the exchange ended before the verdict; SPIRE's own line has the reason")
		} else {
			a.log.Error("this machine was not attested", "code", code.String(), "err",
				status.Convert(err).Message())
		}
		return err
	}
	a.counts.Add("attested")
	return nil
}

// guarded ends a panic here, so that the agent's next attempt finds the plugin.
func (a *Attestor) guarded(
	stream nodeattestorv1.NodeAttestor_AidAttestationServer, run *runner,
) (err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			a.counts.Add("panics")
			a.log.Error("attestation panicked, and the plugin goes on",
				"panic", attestd.Excerpt(fmt.Sprint(panicked), 200), "stack", string(debug.Stack()))
			err = status.Error(codes.Internal,
				"attestd: internal error in the plugin, see SPIRE's log")
		}
	}()
	return run.attest(stream, a.log)
}
