package stage

import (
	"context"
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

	started *forge.Boot
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

// Reboot stops the TPM in order and boots as at first.
func (m *Machine) Reboot() error {
	if err := m.TPM.Reboot(); err != nil {
		return err
	}
	return m.boot()
}

// boot does what the firmware of a machine does: it extends the PCRs and leaves its log.
func (m *Machine) boot() error {
	m.started = forge.NewBoot(forge.BootOptions{
		SecureBoot: true, CommandLine: "root=/dev/vda2 ro quiet",
	})
	return m.extend(m.started.Extensions())
}

// logIPL is EV_IPL of the TCG PC Client Platform Firmware Profile: what GRUB calls the files it reads.
const logIPL = 0x0d

// Measure measures one thing more into PCR 9, as a boot loader does that starts something else: the
// log has it too.
func (m *Machine) Measure(what string) error {
	m.started.InsertAfter("", forge.BootStep{
		Name: what, PCR: 9, Type: logIPL, Measured: []byte(what), Data: []byte(what + "\x00"),
	})
	all := m.started.Extensions()
	return m.extend(all[len(all)-1:])
}

func (m *Machine) extend(extensions []forge.Extension) error {
	for _, one := range extensions {
		if err := m.TPM.Extend(one.PCR, one.Digests); err != nil {
			return err
		}
	}
	return os.WriteFile(m.Log, m.started.Log(), 0o600)
}
