package spiretest_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/attestd/attestd/internal/swtpm"
)

// trustDomain is that of every SPIRE and attestd here.
const trustDomain = "spire.example"

// made is what every test starts from.
var made struct {
	folder                  string // short: sockets lie in it
	root                    string // of the repository
	spireServer, spireAgent string
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
	if err := findSPIRE(); err != nil {
		return 1, err
	}
	defer func() {
		for _, tpm := range manufactured.tpms {
			_ = tpm.Close()
		}
	}()
	return m.Run(), nil
}

// findSPIRE takes the folder that ATTESTD_SPIRE names, and without it that of .ci/spire, which builds
// SPIRE where that was not done.
func findSPIRE() error {
	folder := os.Getenv("ATTESTD_SPIRE")
	if folder == "" {
		var said bytes.Buffer
		spire := exec.Command(filepath.Join(made.root, ".ci/spire")) //nolint:gosec // ours
		spire.Stdout, spire.Stderr = &said, os.Stderr
		if err := spire.Run(); err != nil {
			return fmt.Errorf("SPIRE cannot be built: %w", err)
		}
		folder = strings.TrimSpace(said.String())
	}
	made.spireServer = filepath.Join(folder, "spire-server")
	made.spireAgent = filepath.Join(folder, "spire-agent")
	for _, path := range []string{made.spireServer, made.spireAgent} {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("no SPIRE to test with: %w", err)
		}
	}
	return nil
}

// program is a program of this repository.
type program struct {
	name, module, path string
	once               sync.Once
	err                error
}

// The programs under test, and the workload that is none of them.
var (
	attestdProgram  = &program{name: "attestd", module: "../..", path: "./cmd/attestd"}
	pluginProgram   = &program{name: "attestd-spire", module: "../..", path: "./plugins/spire/cmd/attestd-spire"}
	workloadProgram = &program{name: "workload", module: ".", path: "./workload"}
)

// file builds the program once, as it is released: without cgo.
func (p *program) file(t *testing.T) string {
	t.Helper()
	out := filepath.Join(made.folder, p.name)
	p.once.Do(func() {
		command := exec.Command("go", "build", "-trimpath", "-o", out, p.path) //nolint:gosec // ours
		command.Dir = p.module
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		if said, err := command.CombinedOutput(); err != nil {
			p.err = fmt.Errorf("build %s: %w: %s", p.path, err, said)
		}
	})
	if p.err != nil {
		t.Fatal(p.err)
	}
	return out
}

// manufactured are TPMs as they left their maker, never started; making one takes seconds.
var manufactured struct {
	sync.Mutex
	ca   *swtpm.CA
	tpms map[string]*swtpm.TPM
}

// maker is the maker of all TPMs.
func maker(t *testing.T) *swtpm.CA {
	t.Helper()
	manufactured.Lock()
	defer manufactured.Unlock()
	if manufactured.ca == nil {
		ca, err := swtpm.NewCA(made.folder)
		if err != nil {
			t.Fatal(err)
		}
		manufactured.ca, manufactured.tpms = ca, map[string]*swtpm.TPM{}
	}
	return manufactured.ca
}

// template is the TPM of a name that tests work on clones of. Two clones of one are two machines with
// the same keys, which no house may have.
func template(t *testing.T, name string) *swtpm.TPM {
	t.Helper()
	ca := maker(t)
	manufactured.Lock()
	defer manufactured.Unlock()
	if manufactured.tpms[name] == nil {
		tpm, err := ca.Manufacture(context.Background(), name)
		if err != nil {
			t.Fatal(err)
		}
		manufactured.tpms[name] = tpm
	}
	return manufactured.tpms[name]
}
