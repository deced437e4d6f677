package spiretest_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// trustDomain is that of every SPIRE and attestd here.
const trustDomain = "spire.example"

// made is what every test starts from; it is made once, since making takes seconds.
var made struct {
	folder                  string // short: sockets lie in it
	spireServer, spireAgent string
	workload                string
	root                    string // of the repository
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
	if made.folder, err = os.MkdirTemp("", "st"); err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(made.folder) }()
	if made.root, err = filepath.Abs("../.."); err != nil {
		return 1, err
	}
	var folder bytes.Buffer
	spire := exec.Command(filepath.Join(made.root, ".ci/spire")) //nolint:gosec // ours
	spire.Stdout, spire.Stderr = &folder, os.Stderr
	if err := spire.Run(); err != nil {
		return 1, fmt.Errorf("SPIRE cannot be built: %w", err)
	}
	made.spireServer = filepath.Join(strings.TrimSpace(folder.String()), "spire-server")
	made.spireAgent = filepath.Join(strings.TrimSpace(folder.String()), "spire-agent")
	made.workload = filepath.Join(made.folder, "workload")
	if err := build(context.Background(), ".", made.workload, "./workload"); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// build builds a program of this repository as it is released, without cgo.
func build(ctx context.Context, module, out, program string) error {
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", out, program) //nolint:gosec // ours
	command.Dir = module
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, said)
	}
	return nil
}
