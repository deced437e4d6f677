package keymanager

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	keymanagerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/keymanager/v1"

	attestertpm "github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/plugins/spire/keysocket"
)

// maker makes keys in one place and finds them again there.
type maker interface {
	kind() keysocket.Kind
	// make returns a new key and what it is kept by.
	make(ctx context.Context, wanted keymanagerv1.KeyType) (crypto.Signer, kept, error)
	// find returns a key that was kept; errGone where it is not good any more.
	find(ctx context.Context, k kept) (crypto.Signer, error)
	// remove forgets a key that was kept.
	remove(k kept) error
	// tidy removes what no kept key is of: a process was killed between making a key and keeping
	// it.
	tidy(all []kept) error
}

var errGone = errors.New("the key is of an earlier boot or another TPM")

// memoryMaker makes keys in this process.
type memoryMaker struct{}

func (memoryMaker) kind() keysocket.Kind { return keysocket.KindMemory }

func (memoryMaker) make(
	_ context.Context, wanted keymanagerv1.KeyType,
) (crypto.Signer, kept, error) {
	var key crypto.Signer
	var err error
	switch wanted {
	case keymanagerv1.KeyType_EC_P256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case keymanagerv1.KeyType_EC_P384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case keymanagerv1.KeyType_RSA_2048:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case keymanagerv1.KeyType_RSA_4096:
		key, err = rsa.GenerateKey(rand.Reader, 4096)
	default:
		return nil, kept{}, fmt.Errorf("%w: no key of type %d is made", keysocket.ErrRefused, wanted)
	}
	if err != nil {
		return nil, kept{}, fmt.Errorf("make a key: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	return key, kept{Private: private}, err
}

func (memoryMaker) find(_ context.Context, k kept) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(k.Private)
	if err != nil {
		return nil, fmt.Errorf("a key that was kept: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key that was kept is a %T", key)
	}
	return signer, nil
}

func (memoryMaker) remove(kept) error { return nil }
func (memoryMaker) tidy([]kept) error { return nil }

// tpmMaker makes keys in a TPM, each under a name of its own, so that one that goes on being used
// is never replaced by one that comes to nothing.
type tpmMaker struct{ device *attestertpm.Device }

// tpmPrefix begins the names of keys that are ours to remove.
const tpmPrefix = "spire-agent-"

// maxPassword is as long as a hierarchy's password can be: a digest of SHA-512 (TPMU_HA).
const maxPassword = 64

func newTPMMaker(config *TPMConfig) (*tpmMaker, error) {
	options := attestertpm.Options{
		StateDir: config.StateDir, LockFile: config.LockFile,
		BootLog: attestertpm.Off, IMALog: attestertpm.Off,
	}
	if config.OwnerAuthFile != "" {
		password, err := os.ReadFile(config.OwnerAuthFile)
		if err != nil {
			return nil, fmt.Errorf("tpm.owner_auth_file: %w", err)
		}
		password = []byte(strings.TrimRight(string(password), "\r\n"))
		if len(password) == 0 || len(password) > maxPassword {
			return nil, fmt.Errorf("tpm.owner_auth_file: the password has %d bytes, want 1 to %d",
				len(password), maxPassword)
		}
		options.OwnerAuth = password
	}
	device, err := attestertpm.Open(config.Device, options)
	if err != nil {
		return nil, fmt.Errorf("tpm.device: %w", err)
	}
	return &tpmMaker{device: device}, nil
}

func (t *tpmMaker) kind() keysocket.Kind { return keysocket.KindTPM }

func (t *tpmMaker) make(
	ctx context.Context, wanted keymanagerv1.KeyType,
) (crypto.Signer, kept, error) {
	if wanted != keymanagerv1.KeyType_EC_P256 {
		return nil, kept{}, fmt.Errorf("%w: keys = \"tpm\" makes keys of type EC P-256 alone, "+
			"not %s; set keys = \"memory\" for others", keysocket.ErrRefused, wanted)
	}
	name := tpmPrefix + strings.ToLower(rand.Text())
	key, err := t.device.NewKey(ctx, name)
	if err != nil {
		return nil, kept{}, err
	}
	return key, kept{TPMName: name}, nil
}

func (t *tpmMaker) find(ctx context.Context, k kept) (crypto.Signer, error) {
	key, err := t.device.FindKey(ctx, k.TPMName)
	if errors.Is(err, attestertpm.ErrNoKey) {
		return nil, fmt.Errorf("%w: %w", errGone, err)
	}
	if err != nil {
		return nil, err
	}
	return key, nil
}

func (t *tpmMaker) remove(k kept) error { return t.device.RemoveKey(k.TPMName) }

func (t *tpmMaker) tidy(all []kept) error {
	names, err := t.device.KeyNames()
	if err != nil {
		return err
	}
	known := make(map[string]bool, len(all))
	for _, k := range all {
		known[k.TPMName] = true
	}
	for _, name := range names {
		if strings.HasPrefix(name, tpmPrefix) && !known[name] {
			err = errors.Join(err, t.device.RemoveKey(name))
		}
	}
	return err
}
