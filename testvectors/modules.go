package testvectors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
)

// module is a Go module on this machine, or the reason why it is not here.
type module struct {
	dir, why string
}

// locateModules asks the go command for modules by exact version. wanted maps MODULE@VERSION to the
// go.sum hash that its content must have. The modules need no entry in go.mod: their code is never
// built, only files are read.
func locateModules(wanted map[string]string, offline bool) (map[string]module, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	args := []string{"mod", "download", "-json"}
	for name := range wanted {
		args = append(args, name)
	}
	slices.Sort(args[3:])
	command := exec.Command("go", args...) //nolint:gosec // names come from the committed manifest
	// Outside of every module, so that neither go.mod nor go.sum of the project is touched.
	command.Dir = os.TempDir()
	command.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if offline {
		command.Env = append(command.Env, "GOPROXY=off")
	}
	var failure bytes.Buffer
	command.Stderr = &failure
	out, err := command.Output()
	// The command fails as a whole when one module does; the JSON says which.
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("go mod download: %w", err)
	}
	found, parseErr := readModules(out, wanted)
	if parseErr != nil {
		return nil, fmt.Errorf("%w (%s)", parseErr, bytes.TrimSpace(failure.Bytes()))
	}
	return found, nil
}

// readModules reads the go command's answer and compares hashes.
func readModules(answer []byte, wanted map[string]string) (map[string]module, error) {
	found := map[string]module{}
	for decoder := json.NewDecoder(bytes.NewReader(answer)); ; {
		var one struct {
			Path, Version, Error, Dir, Sum string
		}
		if err := decoder.Decode(&one); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go mod download: %w", err)
		}
		name := one.Path + "@" + one.Version
		switch want := wanted[name]; {
		case one.Error != "":
			found[name] = module{why: "module not available: " + one.Error}
		case one.Sum != want:
			// Other bytes under the same version: somebody changed what was published.
			return nil, fmt.Errorf("module %s has hash %s, want %s", name, one.Sum, want)
		default:
			found[name] = module{dir: one.Dir}
		}
	}
	for name := range wanted {
		if _, answered := found[name]; !answered {
			return nil, fmt.Errorf("go mod download said nothing about %s", name)
		}
	}
	return found, nil
}
