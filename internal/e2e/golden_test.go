package e2e_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	attestertpm "github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/testvectors/forge"
)

// goldenLine is the command line of the boot that reference values are measured from.
const goldenLine = "root=/dev/vda2 ro quiet"

func goldenBoot() *forge.Boot {
	return forge.NewBoot(forge.BootOptions{SecureBoot: true, CommandLine: goldenLine})
}

// otherLine is the golden boot with another command line.
func otherLine() *forge.Boot {
	return forge.NewBoot(forge.BootOptions{SecureBoot: true, CommandLine: goldenLine + " init=/bin/sh"})
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
		m := newMachine(t, made.first, "golden", goldenBoot())
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
		command := exec.Command(made.binary, "measure", file, "--name", "golden", //nolint:gosec // built above
			"--state", "active", "--pcrs", "0-9,14", "--reference", keys, "--insecure-roots", made.ca.RootFile())
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

// laboratory returns the server that most tests ask: it knows the software TPMs' root and the golden
// boot.
func laboratory(t *testing.T) server {
	t.Helper()
	return serve(t, serverConfig{
		policy: "laboratory", insecure: true, references: [][]byte{goldenValues(t)},
	})
}
