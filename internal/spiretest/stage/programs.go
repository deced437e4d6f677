package stage

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Programs are the files of what takes part.
type Programs struct {
	Attestd, Plugin, Workload, SPIREServer, SPIREAgent string
}

// Build builds attestd, its plugins and the workload from the repository into the folder, as they are
// released, and finds SPIRE: in the folder that ATTESTD_SPIRE names, else where .ci/spire built it.
func Build(ctx context.Context, root, folder string) (Programs, error) {
	out := Programs{
		Attestd: filepath.Join(folder, "attestd"), Plugin: filepath.Join(folder, "attestd-spire"),
		Workload: filepath.Join(folder, "workload"),
	}
	for _, one := range []struct{ module, path string }{
		{root, "./cmd/attestd"}, {root, "./plugins/spire/cmd/attestd-spire"},
		{filepath.Join(root, "internal/spiretest"), "./workload"},
	} {
		//nolint:gosec // the paths stand above
		command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", folder+"/", one.path)
		command.Dir, command.Env = one.module, append(os.Environ(), "CGO_ENABLED=0")
		if _, err := Say(ctx, command); err != nil {
			return out, err
		}
	}
	spire := os.Getenv("ATTESTD_SPIRE")
	if spire == "" {
		command := exec.CommandContext(ctx, filepath.Join(root, ".ci/spire")) //nolint:gosec // ours
		command.Stderr = os.Stderr
		said, err := command.Output()
		if err != nil {
			return out, fmt.Errorf("SPIRE cannot be built: %w", err)
		}
		spire = strings.TrimSpace(string(said))
	}
	out.SPIREServer = filepath.Join(spire, "spire-server")
	out.SPIREAgent = filepath.Join(spire, "spire-agent")
	for _, path := range []string{out.SPIREServer, out.SPIREAgent} {
		if _, err := os.Stat(path); err != nil {
			return out, fmt.Errorf("no SPIRE: %w", err)
		}
	}
	return out, nil
}
