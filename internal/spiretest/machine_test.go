package spiretest_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/attestd/attestd"
	attestertpm "github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/internal/swtpm"
	"github.com/attestd/attestd/testvectors/forge"
)

// machine is a software TPM with what a boot measured into it.
type machine struct {
	tpm    *swtpm.TPM
	folder string
	device *attestertpm.Device
	// id is the SPIFFE ID of its agent, as it follows from the endorsement key.
	id string
}

// goldenBoot is the boot that reference values are measured from.
func goldenBoot() *forge.Boot {
	return forge.NewBoot(forge.BootOptions{SecureBoot: true, CommandLine: "root=/dev/vda2 ro quiet"})
}

// otherBoot has another command line.
func otherBoot() *forge.Boot {
	return forge.NewBoot(forge.BootOptions{
		SecureBoot: true, CommandLine: "root=/dev/vda2 ro quiet init=/bin/sh",
	})
}

// newMachine is a TPM with the keys of one that was never started, booted.
func newMachine(t *testing.T, like string, boot *forge.Boot) *machine {
	t.Helper()
	folder, err := os.MkdirTemp(made.folder, "m")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{folder: folder}
	if m.tpm, err = template(t, like).Clone(filepath.Base(folder)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.tpm.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := m.tpm.Start(); err != nil {
		t.Fatal(err)
	}
	m.boot(t, boot)
	issuer, err := maker(t).IssuerPEM()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(issuer)
	m.device, err = attestertpm.Open("swtpm:"+m.tpm.Socket(), attestertpm.Options{
		StateDir: m.state(), BootLog: m.bootLog(), IMALog: attestertpm.Off,
		Intermediates: [][]byte{block.Bytes},
	})
	if err != nil {
		t.Fatal(err)
	}
	identity := m.identity(t)
	digest := identity.EKSHA256()
	name, err := subject.AgentID(trustDomain, attestd.FormatTPM, attestd.Handle{
		Kind: attestd.HandleInstance, Value: "ek:" + hex.EncodeToString(digest[:]),
	})
	if err != nil {
		t.Fatal(err)
	}
	m.id = string(name)
	return m
}

// state is where the machine's programs keep the TPM's keys.
func (m *machine) state() string { return filepath.Join(m.folder, "k") }

func (m *machine) bootLog() string { return filepath.Join(m.folder, "boot.log") }

// boot does what the firmware of a machine does: it extends the PCRs and leaves its log.
func (m *machine) boot(t *testing.T, boot *forge.Boot) {
	t.Helper()
	if err := os.MkdirAll(m.state(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, one := range boot.Extensions() {
		if err := m.tpm.Extend(one.PCR, one.Digests); err != nil {
			t.Fatal(err)
		}
	}
	write(t, m.bootLog(), boot.Log())
}

// reboot stops the TPM in order, starts it and boots the log.
func (m *machine) reboot(t *testing.T, boot *forge.Boot) {
	t.Helper()
	if err := m.tpm.Reboot(); err != nil {
		t.Fatal(err)
	}
	m.boot(t, boot)
}

func (m *machine) identity(t *testing.T) attestertpm.Identity {
	t.Helper()
	identity, err := m.device.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return identity
}

// delivery is the list of endorsement certificates that comes with machines that were bought.
func delivery(t *testing.T, machines ...*machine) []byte {
	t.Helper()
	var list []byte
	for _, m := range machines {
		list = append(list, pem.EncodeToMemory(&pem.Block{
			Type: "CERTIFICATE", Bytes: m.identity(t).EKCertificate,
		})...)
	}
	return list
}

var (
	measured   []byte
	measureErr error
	measuring  sync.Once
)

// goldenValues returns the reference values of the golden boot, as the command line makes them from
// evidence whose attestation key the operator named.
func goldenValues(t *testing.T) []byte {
	t.Helper()
	measuring.Do(func() {
		m := newMachine(t, "first", goldenBoot())
		nonce := make([]byte, 32)
		_, _ = rand.Read(nonce)
		evidence, err := m.device.Collect(t.Context(), attestertpm.Request{Freshness: nonce})
		if err != nil {
			measureErr = err
			return
		}
		file, keys := filepath.Join(m.folder, "golden.tpm"), filepath.Join(m.folder, "keys.yaml")
		write(t, file, evidence.Bytes)
		write(t, keys, fmt.Appendf(nil, "schema: attestd.reference-values.v1\nname: keys\nformat: tpm\n"+
			"attestation-keys:\n  golden: \"%x\"\n", m.identity(t).AKSHA256()))
		var out, problems bytes.Buffer
		command := exec.Command(attestdProgram.file(t), "measure", file, "--name", "golden", //nolint:gosec // built
			"--state", "active", "--pcrs", "0-9,14", "--reference", keys,
			"--insecure-roots", maker(t).RootFile())
		command.Stdout, command.Stderr = &out, &problems
		if measureErr = command.Run(); measureErr != nil {
			measureErr = fmt.Errorf("%w: %s%s", measureErr, out.Bytes(), problems.Bytes())
			return
		}
		measured = out.Bytes()
	})
	if measureErr != nil {
		t.Fatal(measureErr)
	}
	return measured
}
