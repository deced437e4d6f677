package agentattestor_test

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/plugins/spire/attestwire"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/nitrotpm"
)

// toolVariable makes this program stand for AWS's nitro-tpm-attest, with documents of an authority of
// the tests'. Its value is the authority's time in Unix seconds.
const toolVariable = "ATTESTD_TEST_NITRO_TPM_ATTEST"

func awsAt(at time.Time) (*forge.AWS, error) {
	return forge.NewAWS(forge.AWSOptions{
		At: at, ModuleID: forge.NitroTPMModuleID, Seed: "agentattestor",
	})
}

// tool is nitro-tpm-attest: --nonce FILE --public-key FILE, and the document on standard output.
func tool() int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if len(os.Args) != 5 || os.Args[1] != "--nonce" || os.Args[3] != "--public-key" {
		return fail(fmt.Errorf("unexpected arguments %q", os.Args[1:]))
	}
	nonce, err := os.ReadFile(os.Args[2])
	if err != nil {
		return fail(err)
	}
	key, err := os.ReadFile(os.Args[4])
	if err != nil {
		return fail(err)
	}
	seconds, err := strconv.ParseInt(os.Getenv(toolVariable), 10, 64)
	if err != nil {
		return fail(err)
	}
	aws, err := awsAt(time.Unix(seconds, 0).UTC())
	if err != nil {
		return fail(err)
	}
	document, err := aws.Document(forge.Document{NitroTPM: true, Nonce: nonce, PublicKey: key})
	if err != nil {
		return fail(err)
	}
	if _, err := os.Stdout.Write(document); err != nil {
		return fail(err)
	}
	return 0
}

// script puts a program into a folder.
func script(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nitro-tpm-attest")
	must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), mode))
	must(t, os.Chmod(path, mode))
	return path
}

func (m *machine) nitroTPM(tool string) string {
	return `format = "nitrotpm"
tenant = "blue"
runtime_dir = "` + m.runtimeDir + `"
nitrotpm {
  tool = "` + tool + `"
}`
}

func TestNitroTPMEvidenceBindsTheNewestKey(t *testing.T) {
	m := newMachine(t)
	newest := m.keyManager("memory").generate("agent-svid-A")
	self, err := os.Executable()
	must(t, err)
	at := time.Now().Truncate(time.Second).UTC()
	a := newAgent(t, m.nitroTPM(script(t,
		fmt.Sprintf("exec env %s=%d '%s' \"$@\"", toolVariable, at.Unix(), self), 0o700)))
	talk := a.aid(t)
	opened, err := talk.opening()
	must(t, err)
	if opened.Format != attestd.FormatNitroTPM || len(opened.AttestationKey) != 0 {
		t.Errorf("opening %+v", opened)
	}
	issued, message := newVerifier(t).issue(func(r *challenge.Reply) {
		r.Challenge.Format = attestd.FormatNitroTPM
	})
	talk.tell(message)
	var answer attestwire.Answer
	must(t, talk.hear(&answer))
	aws, err := awsAt(at)
	must(t, err)
	judge, err := nitrotpm.New(nitrotpm.Config{InsecureRoots: []*x509.Certificate{aws.Root()}})
	must(t, err)
	for _, row := range []struct {
		name string
		spki []byte
		want bool
	}{{"the newest key", newest, true}, {"another key", []byte("another"), false}} { // neg: 141
		demand, err := attestd.Bound(issued.Binding(row.spki))
		must(t, err)
		_, err = judge.Verify(attestd.Input{Evidence: answer.Evidence, At: aws.At(), Demand: demand})
		if (err == nil) != row.want {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func TestAToolThatFailsGivesNoEvidence(t *testing.T) {
	m := newMachine(t)
	m.keyManager("memory").generate("agent-svid-A")
	for _, row := range []struct {
		name, script, want string
		code               codes.Code
	}{
		{"it fails", "echo no TPM here >&2; exit 3", "no TPM here", codes.FailedPrecondition},
		{"it says nothing", "exit 0", "no document", codes.Internal},
		{"it never stops talking", "exec yes", "16384", codes.Internal},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := newAgent(t, m.nitroTPM(script(t, row.script, 0o700)))
			talk := a.aid(t)
			_, err := talk.opening()
			must(t, err)
			_, message := newVerifier(t).issue(func(r *challenge.Reply) {
				r.Challenge.Format = attestd.FormatNitroTPM
			})
			talk.tell(message)
			err = talk.hear(&attestwire.Answer{})
			if status.Code(err) != row.code || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %s with %q", err, row.code, row.want)
			}
		})
	}
	// In a folder in which anybody may put another program into its place, and one of another user's.
	replaceable, foreign := script(t, "exit 0", 0o700), script(t, "exit 0", 0o755)
	must(t, os.Chmod(filepath.Dir(replaceable), 0o777))
	if os.Geteuid() == 0 {
		must(t, os.Chown(foreign, 65534, 65534))
	} else {
		foreign = replaceable // root's tests show it
	}
	for name, path := range map[string]string{
		"replaceable":        replaceable,
		"another user's":     foreign,
		"not there":          filepath.Join(t.TempDir(), "nothing"),
		"a folder":           t.TempDir(),
		"others can write":   script(t, "exit 0", 0o722),
		"it cannot be run":   script(t, "exit 0", 0o600),
		"a path from here":   "nitro-tpm-attest",
		"a way into nowhere": "/dev/null/x",
	} {
		if err := configure(load(t).config, m.nitroTPM(path)); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}
