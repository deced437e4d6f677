package keymanager_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
)

// TestMemoryOfConfigurationsThatAreRefused: every problem at once, the same by Validate. neg: 196
func TestMemoryOfConfigurationsThatAreRefused(t *testing.T) {
	n := newNode(t, "memory", "")
	n.Die()
	for name, row := range map[string]struct {
		hcl  string
		want []string
	}{
		"nothing": {"", []string{"keys: is missing", "runtime_dir: is missing"}},
		"all of it": {`keys = "disk"
runtime_dir = "run"
trust_domain = "other.test"
signatures_per_second = 0
unknown = 1
tpm {
  device = 7
  lock_file = "l"
}`, []string{`keys: got "disk"`, `runtime_dir: got "run"`, "trust_domain", "signatures_per_second: got 0",
			"line 5: unknown", "line 7: tpm.device", "tpm.state_dir: is missing", `tpm.lock_file: got "l"`}},
		"a key twice": {
			"keys = \"memory\"\nkeys = \"tpm\"\nruntime_dir = \"/run/x\"",
			[]string{"line 2: keys: stands twice"},
		},
		"an empty place": {"keys = \"\"\nruntime_dir = \"/run/x\"", []string{"line 1: keys: is empty"}},
		"a TPM for memory": {
			"keys = \"memory\"\nruntime_dir = \"/run/x\"\ntpm { state_dir = \"/x\" }",
			[]string{"tpm: is given"},
		},
		"no TPM for tpm": {"keys = \"tpm\"\nruntime_dir = \"/run/x\"", []string{"tpm: is missing"}},
		"too many a second": {
			"keys = \"memory\"\nruntime_dir = \"/run/x\"\nsignatures_per_second = 1001",
			[]string{"got 1001"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n.make()
			err := n.configure(row.hcl)
			answer, failed := n.Validate(t.Context(), &configv1.ValidateRequest{
				CoreConfiguration: &configv1.CoreConfiguration{TrustDomain: trustDomain},
				HclConfiguration:  row.hcl,
			})
			if err == nil || failed != nil || answer.GetValid() {
				t.Fatalf("got %v; validated %v, %v", err, answer, failed)
			}
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) ||
					!strings.Contains(strings.Join(answer.GetNotes(), "; "), want) {
					t.Errorf("got %v, want %s", err, want)
				}
			}
			if len(answer.GetNotes()) != len(row.want) {
				t.Errorf("notes %q, want %d", answer.GetNotes(), len(row.want))
			}
		})
	}
	n.start()
}

// What the keys are in does not change under an agent that runs.
func TestMemoryOfAConfigurationThatMovesTheKeys(t *testing.T) {
	n := newNode(t, "memory", "")
	n.generate(slotA, p256)
	elsewhere := filepath.Join(t.TempDir(), "other")
	for _, hcl := range []string{
		fmt.Sprintf("keys = \"memory\"\nruntime_dir = %q", elsewhere),
		fmt.Sprintf("keys = \"tpm\"\nruntime_dir = %q\ntpm { state_dir = %q }", n.runtime, elsewhere),
	} {
		if err := n.configure(hcl); err == nil || !strings.Contains(err.Error(), "restart the agent") {
			t.Errorf("%s: %v", hcl, err)
		}
	}
	if err := n.configure(n.hcl + "signatures_per_second = 7"); err != nil {
		t.Error(err)
	}
	if ids := n.ids(); len(ids) != 1 {
		t.Errorf("keys %q", ids)
	}
}

func TestFoldersThatOthersReachAreRefused(t *testing.T) {
	for _, which := range []string{"run", "tpm"} {
		for name, spoil := range map[string]func(path string) error{
			"group-writable": func(path string) error { return os.Chmod(path, 0o770) },
			"readable":       func(path string) error { return os.Chmod(path, 0o755) },
			"a link": func(path string) error {
				return errors.Join(os.Rename(path, path+".real"), os.Symlink(path+".real", path))
			},
			"a file": func(path string) error {
				return errors.Join(os.RemoveAll(path), os.WriteFile(path, nil, 0o600))
			},
		} {
			t.Run(which+" "+name, func(t *testing.T) {
				n := newNode(t, "tpm", "")
				n.Die()
				if err := spoil(filepath.Join(filepath.Dir(n.runtime), which)); err != nil {
					t.Fatal(err)
				}
				n.make()
				if err := n.configure(n.hcl); err == nil || !strings.Contains(err.Error(), "/"+which) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

// Two agents on one machine would take each other's socket, and remove each other's keys.
func TestAnotherAgentsFoldersAreRefused(t *testing.T) {
	t.Parallel() // it waits for predecessors that do not go
	n, other := newNode(t, "tpm", ""), newNode(t, "tpm", "")
	a := n.generate(slotA, p256)
	for name, hcl := range map[string]string{
		"runtime_dir": strings.Replace(other.hcl, other.runtime, n.runtime, 1),
		"state_dir":   strings.Replace(other.hcl, other.state, n.state, 1),
	} {
		other.Die()
		other.make()
		if err := other.configure(hcl); err == nil || !strings.Contains(err.Error(), "another process uses") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := a.try(t.Context()); err != nil {
		t.Error(err)
	}
	if files := n.files(); len(files) != 1 {
		t.Errorf("files %q", files)
	}
	other.start()
}

func TestATPMThatIsNotThereIsNamed(t *testing.T) {
	n := newNode(t, "tpm", "")
	a := n.generate(slotA, p256)
	if err := n.chip.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := a.try(t.Context()); err == nil || !strings.Contains(err.Error(), "swtpm") {
		t.Errorf("got %v", err)
	}
	n.Die()
	n.make()
	if err := n.configure(n.hcl); err == nil || !strings.Contains(err.Error(), "swtpm") {
		t.Errorf("got %v", err)
	}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, line := range map[string]string{
		"tpm.device":               "device = \"tpm0\"",
		"no such file":             "owner_auth_file = \"/none\"",
		"the password has 0 bytes": fmt.Sprintf("owner_auth_file = %q", password),
	} {
		n.make()
		err := n.configure(fmt.Sprintf("keys = \"tpm\"\nruntime_dir = %q\ntpm {\n state_dir = %q\n %s\n}",
			n.runtime, n.state, line))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}
