// Package e2e_test takes software TPMs all the way: real TPM commands through the attester, the real
// binary serving its API with its worker processes, and the verdicts that came back. Each test names
// the check that must refuse what it tries.
package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/attestd/attestd/internal/swtpm"
)

// made is what every test starts from; it is made once, since making takes seconds.
var made struct {
	folder string // short: sockets lie in it
	binary string
	ca     *swtpm.CA
	// first and second are TPMs as they left their maker, never started. Tests work on clones.
	first, second *swtpm.TPM
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if made.folder, err = os.MkdirTemp("", "e2e"); err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(made.folder) }()
	if made.ca, err = swtpm.NewCA(made.folder); err != nil {
		return 1, err
	}
	if made.first, err = made.ca.Manufacture(context.Background(), "first"); err != nil {
		return 1, err
	}
	defer func() { _ = made.first.Close() }()
	if made.second, err = made.ca.Manufacture(context.Background(), "second"); err != nil {
		return 1, err
	}
	defer func() { _ = made.second.Close() }()
	made.binary = filepath.Join(made.folder, "attestd")
	build := exec.Command("go", "build", "-o", made.binary, "../../cmd/attestd") //nolint:gosec // ours
	build.Env = append(os.Environ(), "CGO_ENABLED=0")                            // as it is released
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("%w: %s", err, out)
	}
	return m.Run(), nil
}
