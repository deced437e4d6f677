package keymanager

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/plugins/spire/keysocket"
	"github.com/attestd/attestd/plugins/spire/keysocket/local"
)

// Where keys live.
const (
	keysMemory = "memory"
	keysTPM    = "tpm"
)

// Config is the configuration of the plugin.
type Config struct {
	// Keys says where the agent's keys live: "memory" or "tpm". It must be written.
	Keys string `hcl:"keys,required"`
	// RuntimeDir is the folder of the key socket: the agent's user's alone (0700), one for each
	// agent, as in the configurations of the node's other plugins.
	RuntimeDir string `hcl:"runtime_dir,required"`
	// TrustDomain is compared with SPIRE's where it is given.
	TrustDomain string `hcl:"trust_domain"`
	// SignaturesPerSecond limits the agent, and once more all others together. Above it they wait:
	// each JWT-SVID that is refused costs the agent a new connection, and that a signature.
	SignaturesPerSecond int        `hcl:"signatures_per_second"`
	TPM                 *TPMConfig `hcl:"tpm"`

	ring *ring
}

// TPMConfig names the TPM that keys are made in.
type TPMConfig struct {
	// Device is the device file, as in "/dev/tpmrm0", or "swtpm:PATH".
	Device string `hcl:"device"`
	// StateDir is the folder of the keys' files, the agent's user's alone and of this agent alone.
	StateDir string `hcl:"state_dir,required"`
	// LockFile is the file whose lock lets one program work with the TPM at a time, as in the node
	// attestor's configuration.
	LockFile string `hcl:"lock_file"`
	// OwnerAuthFile holds the owner hierarchy's password, if there is one.
	OwnerAuthFile string `hcl:"owner_auth_file"`
}

func defaults() Config { return Config{SignaturesPerSecond: 20} }

// maxRate is more than a TPM makes.
const maxRate = 1000

// Check implements host.Document.
func (c *Config) Check() []string {
	var problems []string
	add := func(format string, args ...any) {
		problems = append(problems, fmt.Sprintf(format, args...))
	}
	folder := func(key, path string) {
		if path != "" && !filepath.IsAbs(path) {
			add("%s: got %q, want a whole path", key, attestd.Excerpt(path, 100))
		}
	}
	switch {
	case c.Keys == keysTPM && c.TPM == nil:
		add("tpm: is missing: keys = \"tpm\" needs a block tpm with state_dir")
	case c.Keys == keysMemory && c.TPM != nil:
		add("tpm: is given, and keys = \"memory\" makes none there")
	case c.Keys != keysMemory && c.Keys != keysTPM && c.Keys != "":
		add("keys: got %q, want \"memory\" or \"tpm\"", attestd.Excerpt(c.Keys, 40))
	}
	folder("runtime_dir", c.RuntimeDir)
	if c.TPM != nil {
		folder("tpm.state_dir", c.TPM.StateDir)
		folder("tpm.lock_file", c.TPM.LockFile)
		folder("tpm.owner_auth_file", c.TPM.OwnerAuthFile)
	}
	if c.SignaturesPerSecond < 1 || c.SignaturesPerSecond > maxRate {
		add("signatures_per_second: got %d, want 1 to %d", c.SignaturesPerSecond, maxRate)
	}
	return problems
}

// place is what cannot change while the agent runs: its keys are there.
type place struct {
	keys, runtimeDir, trustDomain string
	tpm                           TPMConfig
}

func (c *Config) place(trustDomain string) place {
	p := place{keys: c.Keys, runtimeDir: filepath.Clean(c.RuntimeDir), trustDomain: trustDomain}
	if c.TPM != nil {
		p.tpm = *c.TPM
	}
	return p
}

// withHint is an error as SPIRE's log shows it, on one line.
func withHint(err error) error {
	var caller *attestd.CallerError
	if errors.As(err, &caller) && caller.Hint != "" {
		return fmt.Errorf("%w (%s)", err, caller.Hint)
	}
	return err
}

// use makes the configuration's ring, or goes on with the one there is.
func (p *plugin) use(ctx context.Context, config *Config, trustDomain string) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	where := config.place(trustDomain)
	if p.ring != nil {
		if p.place != where {
			return errors.New("keys, runtime_dir and tpm are not those that the agent's keys are in: " +
				"restart the agent to change them")
		}
		p.ring.limit(config.SignaturesPerSecond)
		config.ring = p.ring
		return nil
	}
	made, err := p.open(ctx, config, trustDomain)
	if err != nil {
		return withHint(err)
	}
	made.limit(config.SignaturesPerSecond)
	if p.socket, err = listen(ctx, config.RuntimeDir, made, p.env.Logger.Warn); err != nil {
		made.close()
		return withHint(err)
	}
	p.ring, p.place, config.ring = made, where, made
	return nil
}

func listen(
	ctx context.Context, path string, keys *ring, note func(string, ...any),
) (*keysocket.Server, error) {
	folder, err := local.Make(path)
	if err != nil {
		return nil, fmt.Errorf("runtime_dir: %w", err)
	}
	server, err := keysocket.Listen(ctx, folder, socketKeys{keys}, note)
	if err != nil {
		_ = folder.Close()
		return nil, err
	}
	return server, nil
}
