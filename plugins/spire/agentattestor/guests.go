package agentattestor

import (
	"context"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/attester/azure"
	"github.com/attestd/attestd/attester/composite"
	"github.com/attestd/attestd/attester/snp"
	"github.com/attestd/attestd/attester/tdx"
	"github.com/attestd/attestd/attester/tpm"
)

func newSNP(c *Config) (machine, error) {
	place := ""
	if c.SNP != nil {
		place = c.SNP.Path
	}
	guest, err := snp.Open(place)
	return plain{from: guest}, err
}

func newTDX(c *Config) (machine, error) {
	var options tdx.Options
	if c.TDX != nil {
		options = tdx.Options{ConfigFS: c.TDX.Path, EventLog: c.TDX.EventLog}
	}
	guest, err := tdx.Open(options)
	return plain{from: guest}, err
}

// newAzure is a confidential VM of Azure. Its virtual TPM's keys are the paravisor's, and the CPU's
// report vouches for them: a challenge is asked for without keys.
func newAzure(c *Config) (machine, error) {
	given := AzureConfig{}
	if c.Azure != nil {
		given = *c.Azure
	}
	shared := given.tpm()
	place := shared.Device
	if place == "" {
		place = "/dev/tpmrm0"
	}
	options := azure.Options{Metadata: given.Metadata, AKHandle: azure.DefaultAKHandle}
	var err error
	if given.AKHandle != "" {
		if options.AKHandle, err = shared.handle(); err != nil {
			return nil, err
		}
	}
	if options.PCRs, err = shared.pcrs(); err != nil {
		return nil, err
	}
	if options.Bank, err = shared.bank(); err != nil {
		return nil, err
	}
	chip := tpm.Options{LockFile: shared.LockFile, BootLog: shared.EventLog, IMALog: shared.IMALog}
	if chip.OwnerAuth, err = password(shared.OwnerAuthFile); err != nil {
		return nil, fmt.Errorf("azure.owner_auth_file: %w", err)
	}
	device, err := tpm.Open(place, chip)
	if err != nil {
		return nil, err
	}
	vm, err := azure.Open(device, options)
	return plain{from: vm}, err
}

// open makes the machine that the configuration names.
func (c *Config) open() (machine, error) {
	if c.Format != string(attestd.FormatComposite) {
		return machines[attestd.Format(c.Format)](c)
	}
	cpu, err := machines[attestd.Format(c.Composite.CPU)](c)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", composite.PathCPU, err)
	}
	vtpm, err := machines[attestd.Format(c.Composite.vtpm())](c)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", composite.PathTPM, err)
	}
	return composed{machine: vtpm, cpu: cpu}, nil
}

// composed is a machine whose CPU and TPM both give evidence. Keys and credentials are the TPM's.
type composed struct {
	machine // the TPM

	cpu machine
}

func (m composed) attester(ctx context.Context, key AgentKey) (attester.Attester, error) {
	cpu, err := m.cpu.attester(ctx, key)
	if err != nil {
		return nil, err
	}
	vtpm, err := m.machine.attester(ctx, key)
	if err != nil {
		return nil, err
	}
	return composite.New(composite.Device{Path: composite.PathCPU, From: cpu},
		composite.Device{Path: composite.PathTPM, From: vtpm})
}
