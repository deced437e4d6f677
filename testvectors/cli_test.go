package testvectors_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/testvectors"
)

// scratch is a folder for the whole run of the tests.
var scratch string

// builtBinary builds cmd/attestd once per run of the tests and returns its path.
var builtBinary = sync.OnceValues(func() (string, error) {
	name := filepath.Join(scratch, "attestd")
	command := exec.Command("go", "build", "-o", name, "../cmd/attestd") //nolint:gosec // our own words
	command.Env = append(os.Environ(), "CGO_ENABLED=0")                  // as it is released
	out, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return name, nil
})

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "attestd-vectors")
	if err != nil {
		panic(err)
	}
	scratch = folder
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// commandLine is the entry of people and scripts: the real binary, with files.
type commandLine struct{ binary, folder string }

func newCommandLine(t *testing.T) commandLine {
	t.Helper()
	name, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	return commandLine{binary: name, folder: t.TempDir()}
}

// verdictExits are the exit codes that go with a verdict.
var verdictExits = map[attestd.Verdict]int{
	attestd.VerdictAccepted: 0, attestd.VerdictRejected: 3, attestd.VerdictUndecided: 4,
}

func (c commandLine) ask(t *testing.T, vector testvectors.Vector, at time.Time) attestd.Appraisal {
	t.Helper()
	evidence := filepath.Join(c.folder, "evidence")
	write(t, evidence, vector.Evidence)
	args := []string{"verify", "--recorded", "--at", at.Format(time.RFC3339Nano), "-o", "json"}
	given := slices.Concat(vector.Endorsements.Certificates, vector.Endorsements.CRLs,
		vector.Endorsements.Documents)
	if len(given) > 0 {
		collateral := filepath.Join(t.TempDir(), "collateral")
		if err := os.Mkdir(collateral, 0o700); err != nil {
			t.Fatal(err)
		}
		for i, data := range given {
			write(t, filepath.Join(collateral, fmt.Sprint(i)), data)
		}
		args = append(args, "--collateral", collateral)
	}
	if len(vector.DemandNonce) > 0 {
		args = append(args, "--nonce", hex.EncodeToString(vector.DemandNonce))
	}
	if document := vector.Reference(); document != nil {
		reference := filepath.Join(c.folder, "reference.yaml")
		write(t, reference, document)
		args = append(args, "--reference", reference)
	}
	verdict, code := c.run(t, append(args, evidence)...)
	if want := verdictExits[verdict.Verdict]; code != want {
		t.Errorf("exit %d for %v, want %d", code, verdict.Verdict, want)
	}
	return verdict
}

// run starts the binary and reads the one JSON document that it prints.
func (c commandLine) run(t *testing.T, args ...string) (attestd.Appraisal, int) {
	t.Helper()
	command := exec.Command(c.binary, args...) //nolint:gosec // the binary built above
	var out, complaint bytes.Buffer
	command.Stdout, command.Stderr = &out, &complaint
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var verdict attestd.Appraisal
	if err := json.Unmarshal(out.Bytes(), &verdict); err != nil {
		t.Fatalf("%q: %v; it said %s", args, err, complaint.Bytes())
	}
	return verdict, command.ProcessState.ExitCode()
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestVectorsThroughTheCommandLine wants the binary to say what the library says: two entries that
// read evidence differently are a way around one of them.
//
// neg: 171
func TestVectorsThroughTheCommandLine(t *testing.T) {
	through, reference := newCommandLine(t), newLibrary(t, judge.Config{})
	vectors := append(corpus(t).Vectors, selfMade(t)...)
	for _, vector := range vectors {
		t.Run(vector.Name, func(t *testing.T) {
			agrees(t, through, vector, reference.ask(t, vector, vector.At))
		})
	}
	t.Logf("%d vectors", len(vectors))
}

// TestWithoutATimeTheCommandLineJudgesNow leaves --at out: the leaves of all Nitro documents have
// expired, so each of them must be rejected.
func TestWithoutATimeTheCommandLineJudgesNow(t *testing.T) {
	through := newCommandLine(t)
	vectors := corpus(t).Format(attestd.FormatNitro)
	for _, vector := range vectors {
		t.Run(vector.Name, func(t *testing.T) {
			evidence := filepath.Join(through.folder, "evidence")
			write(t, evidence, vector.Evidence)
			verdict, code := through.run(t, "verify", "--recorded", "-o", "json", evidence)
			if verdict.Verdict != attestd.VerdictRejected || code != 3 {
				t.Errorf("%v, exit %d, want a rejection", verdict.Verdict, code)
			}
		})
	}
}
