package stage

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"

	"github.com/attestd/attestd/internal/swtpm"
	"github.com/attestd/attestd/testvectors/forge"
)

// Machine is a software TPM and the log of what was measured into it.
type Machine struct {
	TPM *swtpm.TPM
	Log string // the boot log's file
}

// NewMachine makes a TPM and boots it. The folder must exist and have no TPM in it.
func NewMachine(ctx context.Context, folder string) (*Machine, error) {
	ca, err := swtpm.NewCA(folder)
	if err != nil {
		return nil, err
	}
	tpm, err := ca.Manufacture(ctx, "machine")
	if err != nil {
		return nil, err
	}
	m := &Machine{TPM: tpm, Log: filepath.Join(folder, "boot.log")}
	if err = tpm.Start(); err == nil {
		err = m.boot()
	}
	if err != nil {
		return nil, errors.Join(err, tpm.Close())
	}
	return m, nil
}

// Device is the TPM as attestd's programs name it.
func (m *Machine) Device() string { return "swtpm:" + m.TPM.Socket() }

// Reboot stops the TPM in order and boots as before.
func (m *Machine) Reboot() error {
	if err := m.TPM.Reboot(); err != nil {
		return err
	}
	return m.boot()
}

// boot does what the firmware of a machine does: it extends the PCRs and leaves its log.
func (m *Machine) boot() error {
	boot := forge.NewBoot(forge.BootOptions{SecureBoot: true, CommandLine: "root=/dev/vda2 ro quiet"})
	for _, one := range boot.Extensions() {
		if err := m.TPM.Extend(one.PCR, one.Digests); err != nil {
			return err
		}
	}
	return os.WriteFile(m.Log, boot.Log(), 0o600)
}

// sha256Bank is TPM_ALG_SHA256.
const sha256Bank = 0x000b

// Measure extends a PCR with something that no log names, as what breaks in does where it is measured.
func (m *Machine) Measure(pcr uint32, what string) error {
	digest := sha256.Sum256([]byte(what))
	return m.TPM.Extend(pcr, map[uint16][]byte{sha256Bank: digest[:]})
}
