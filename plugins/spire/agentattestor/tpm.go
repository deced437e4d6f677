package agentattestor

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/attester/tpm"
)

// tpmMachine is a machine with a TPM.
type tpmMachine struct {
	place   string
	options tpm.Options
	request tpm.Request
	device  *tpm.Device
}

func newTPM(c *Config) (machine, error) {
	given := TPMConfig{}
	if c.TPM != nil {
		given = *c.TPM
	}
	if given.Device == "" {
		given.Device = "/dev/tpmrm0"
	}
	options := tpm.Options{
		LockFile: given.LockFile, StateDir: given.StateDir, BootLog: given.EventLog,
		IMALog: given.IMALog,
	}
	made := &tpmMachine{}
	var err error
	if options.AKHandle, err = given.handle(); err != nil {
		return nil, err
	}
	if made.request.PCRs, err = given.pcrs(); err != nil {
		return nil, err
	}
	if made.request.Bank, err = given.bank(); err != nil {
		return nil, err
	}
	if options.Intermediates, err = certificates(given.EKChainFile); err != nil {
		return nil, fmt.Errorf("tpm.ek_chain_file: %w", err)
	}
	if options.OwnerAuth, err = password(given.OwnerAuthFile); err != nil {
		return nil, fmt.Errorf("tpm.owner_auth_file: %w", err)
	}
	if options.EndorsementAuth, err = password(given.EndorsementAuthFile); err != nil {
		return nil, fmt.Errorf("tpm.endorsement_auth_file: %w", err)
	}
	made.place, made.options = given.Device, options
	made.device, err = tpm.Open(made.place, made.options)
	return made, err
}

// keeping returns the TPM with the folder that the key manager keeps its keys in.
func (m *tpmMachine) keeping(folder string) (*tpm.Device, error) {
	switch m.options.StateDir {
	case folder:
		return m.device, nil
	case "":
		options := m.options
		options.StateDir = folder
		return tpm.Open(m.place, options)
	default:
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig,
			Hint:  "give tpm.state_dir the key manager's value, or leave it out",
			Err: fmt.Errorf("the key manager keeps its keys in %q, and tpm.state_dir is %q",
				attestd.Excerpt(folder, 200), attestd.Excerpt(m.options.StateDir, 200)),
		}
	}
}

func (m *tpmMachine) attester(ctx context.Context, key AgentKey) (attester.Attester, error) {
	if key.TPMName == "" {
		return m.device.With(m.request), nil
	}
	device, err := m.keeping(key.TPMState)
	if err != nil {
		return nil, err
	}
	request := m.request
	if request.Key, err = device.FindKey(ctx, key.TPMName); err != nil {
		return nil, fmt.Errorf("the agent's key in the TPM: %w", err)
	}
	// Another key than the agent's must not be certified: attestd would take the node's own key for
	// one that never leaves the TPM.
	if !bytes.Equal(request.Key.SPKI(), key.SPKI) {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig,
			Hint:  "give tpm.device the same value in the key manager and the node attestor",
			Err:   errors.New("the TPM's key of that name is not the key manager's newest"),
		}
	}
	return device.With(request), nil
}

func (m *tpmMachine) carriesKey(key AgentKey) bool { return key.TPMName != "" }

func (m *tpmMachine) identity(ctx context.Context) ([]byte, []byte, error) {
	known, err := m.device.Identity(ctx)
	return known.AKPublic, known.EKPublic, err
}

func (m *tpmMachine) activate(ctx context.Context, blob, secret []byte) ([]byte, error) {
	return m.device.Activate(ctx, blob, secret)
}
