package keymanager

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"github.com/spiffe/spire-plugin-sdk/pluginsdk"
	keymanagerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/keymanager/v1"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/plugins/spire/host"
	"github.com/attestd/attestd/plugins/spire/keysocket"
	"github.com/attestd/attestd/plugins/spire/keysocket/local"
)

// plugin answers SPIRE's agent.
type plugin struct {
	keymanagerv1.UnsafeKeyManagerServer

	env        host.Env
	configured *host.Configured[Config]
	bootIDFile string

	// mutex guards what the first configuration sets up and later ones go on with.
	mutex  sync.Mutex
	ring   *ring
	place  place
	socket *keysocket.Server
}

// New returns the plugin; host.Main runs it.
func New(env host.Env) (host.Plugin, error) {
	p := newPlugin(env)
	return host.Plugin{
		Name:     env.Name,
		Server:   keymanagerv1.KeyManagerPluginServer(p),
		Services: []pluginsdk.ServiceServer{configv1.ConfigServiceServer(p.configured)},
	}, nil
}

func newPlugin(env host.Env) *plugin {
	p := &plugin{env: env, bootIDFile: bootIDFile}
	p.configured = host.NewConfigured(env, defaults,
		func(ctx context.Context, config *Config, core host.Core) (func(), error) {
			// Nothing ends with a configuration: the keys are the agent's for as long as it runs.
			return nil, p.use(ctx, config, core.TrustDomain)
		})
	return p
}

// open finds or makes the place for keys that the configuration names.
func (p *plugin) open(ctx context.Context, config *Config, trustDomain string) (*ring, error) {
	r := &ring{
		counts: p.env.Counts, log: p.env.Logger.Warn, trustDomain: trustDomain,
		bootIDFile: p.bootIDFile,
	}
	switch config.Keys {
	case keysMemory:
		noDump()
		r.maker, r.keeper = memoryMaker{}, noKeeper{}
		if p.env.Keep != nil {
			r.keeper = &memoryKeeper{at: p.env.Keep}
		}
	case keysTPM:
		maker, err := newTPMMaker(config.TPM)
		if err != nil {
			return nil, err
		}
		folder, err := local.Make(config.TPM.StateDir)
		if err != nil {
			return nil, err
		}
		unlock, err := folder.Lock(ctx, "agent-keys.lock")
		if err != nil {
			_ = folder.Close()
			return nil, err
		}
		r.release = func() { _, _ = unlock(), folder.Close() }
		r.maker, r.keeper, r.stateDir = maker, folderKeeper{folder}, folder.Path()
	default:
		return nil, errors.New("keys: want \"memory\" or \"tpm\"")
	}
	if err := r.restore(ctx); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// GenerateKey makes a new key under the id, in the place of the one that has it.
func (p *plugin) GenerateKey(
	ctx context.Context, request *keymanagerv1.GenerateKeyRequest,
) (*keymanagerv1.GenerateKeyResponse, error) {
	config, release, err := p.configured.Acquire()
	if err != nil {
		return nil, err
	}
	defer release()
	made, err := config.ring.generate(ctx, request.GetKeyId(), request.GetKeyType())
	if err != nil {
		return nil, p.problem("generate a key", err)
	}
	p.env.Logger.Info("a key was generated", "key", attestd.Excerpt(made.ID, 60),
		"kind", string(config.ring.maker.kind()), "fingerprint", made.fingerprint)
	return &keymanagerv1.GenerateKeyResponse{PublicKey: publicKey(made)}, nil
}

// GetPublicKey returns the public key of an id.
func (p *plugin) GetPublicKey(
	_ context.Context, request *keymanagerv1.GetPublicKeyRequest,
) (*keymanagerv1.GetPublicKeyResponse, error) {
	config, release, err := p.configured.Acquire()
	if err != nil {
		return nil, err
	}
	defer release()
	found, err := config.ring.get(request.GetKeyId())
	if err != nil {
		return nil, p.problem("get a public key", err)
	}
	return &keymanagerv1.GetPublicKeyResponse{PublicKey: publicKey(found)}, nil
}

// GetPublicKeys returns all public keys.
func (p *plugin) GetPublicKeys(
	context.Context, *keymanagerv1.GetPublicKeysRequest,
) (*keymanagerv1.GetPublicKeysResponse, error) {
	config, release, err := p.configured.Acquire()
	if err != nil {
		return nil, err
	}
	defer release()
	all, err := config.ring.all()
	if err != nil {
		return nil, p.problem("get the public keys", err)
	}
	answer := &keymanagerv1.GetPublicKeysResponse{}
	for _, one := range all {
		answer.PublicKeys = append(answer.PublicKeys, publicKey(one))
	}
	return answer, nil
}

// SignData signs a digest.
func (p *plugin) SignData(
	ctx context.Context, request *keymanagerv1.SignDataRequest,
) (*keymanagerv1.SignDataResponse, error) {
	config, release, err := p.configured.Acquire()
	if err != nil {
		return nil, err
	}
	defer release()
	opts, err := optionsOf(request)
	if err != nil {
		return nil, p.problem("sign", err)
	}
	one, err := config.ring.get(request.GetKeyId())
	if err != nil {
		return nil, p.problem("sign", err)
	}
	signature, err := config.ring.sign(ctx, &config.ring.agent, one, request.GetData(), opts)
	if err != nil {
		return nil, p.problem("sign", err)
	}
	return &keymanagerv1.SignDataResponse{Signature: signature, KeyFingerprint: one.fingerprint}, nil
}

func publicKey(one *key) *keymanagerv1.PublicKey {
	return &keymanagerv1.PublicKey{
		Id: one.ID, Type: keymanagerv1.KeyType(one.Type), PkixData: bytes.Clone(one.SPKI),
		Fingerprint: one.fingerprint,
	}
}

// problem is an error as SPIRE's agent is told it. What the TPM or a file did not do is
// Unavailable: it may do it the next time.
func (p *plugin) problem(doing string, err error) error {
	code := codes.Unavailable
	switch {
	case errors.Is(err, keysocket.ErrNoKey):
		code = codes.NotFound
	case errors.Is(err, keysocket.ErrRefused):
		code = codes.InvalidArgument
	case errors.Is(err, keysocket.ErrBusy):
		code = codes.ResourceExhausted
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	}
	p.env.Counts.Add("errors")
	return status.Errorf(code, "%s: %s", doing, attestd.Excerpt(withHint(err).Error(), 400))
}
