package agentattestor_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/agentattestor"
	"github.com/attestd/attestd/plugins/spire/attestwire"
	"github.com/attestd/attestd/plugins/spire/keysocket"
	verifiertpm "github.com/attestd/attestd/verifiers/tpm"
)

// TestEvidenceBindsTheNewestKey: it is the key that SPIRE's agent made for this very attestation,
// and of the grade that the key has. neg: 141
func TestEvidenceBindsTheNewestKey(t *testing.T) {
	for _, row := range []struct{ keys, grade string }{{"memory", "bound"}, {"tpm", "resident"}} {
		t.Run(row.keys, func(t *testing.T) {
			m := newMachine(t)
			keys := m.keyManager(row.keys)
			a := newAgent(t, m.config())
			old := keys.generate("agent-svid-A")
			newest := keys.generate("agent-svid-B")
			if bytes.Equal(old, newest) {
				t.Fatal("two keys are one")
			}
			v := newVerifier(t)
			talk := a.aid(t)
			opened, err := talk.opening()
			must(t, err)
			if opened.Format != attestd.FormatTPM || opened.Tenant != "blue" ||
				len(opened.AttestationKey) == 0 ||
				len(opened.EndorsementKey) == 0 {
				t.Fatalf("opening %+v", opened)
			}
			// attestd's own credential, for the keys that the node named.
			secret := bytes.Repeat([]byte{9}, 32)
			credential, err := verifiertpm.MakeCredential(verifiertpm.CredentialRequest{
				AKPublic: opened.AttestationKey, EKPublic: opened.EndorsementKey, Secret: secret,
				Entropy: bytes.Repeat([]byte{1}, verifiertpm.EntropySize),
			})
			must(t, err)
			issued, message := v.issue(func(r *challenge.Reply) {
				r.Activation = &challenge.Activation{
					CredentialBlob: credential.Blob, EncryptedSecret: credential.EncryptedSecret,
				}
			})
			talk.tell(message)
			var answer attestwire.Answer
			must(t, talk.hear(&answer))
			if !bytes.Equal(answer.KeySPKI, newest) {
				t.Error("the key is not the newest one")
			}
			if !bytes.Equal(answer.ActivationSecret, secret) {
				t.Error("the credential's answer is another")
			}
			judge, err := verifiertpm.New(verifiertpm.Config{InsecureRoots: []*x509.Certificate{root(t)}})
			must(t, err)
			for name, spki := range map[string][]byte{"newest": newest, "old": old} {
				demand, err := attestd.Bound(issued.Binding(spki))
				must(t, err)
				claims, err := judge.Verify(attestd.Input{
					Evidence: answer.Evidence, At: time.Now(), Demand: demand,
					Anchors: attestd.Anchors{Activation: &attestd.Activation{
						AKName: credential.AKName, EK: credential.EK, Secret: sha256.Sum256(secret),
						Answer: answer.ActivationSecret,
					}},
				})
				if name == "old" {
					var rejected *attestd.EvidenceError
					if !errors.As(err, &rejected) || rejected.Class != attestd.ClassBinding {
						t.Errorf("with another key: %v, want it rejected as BINDING", err)
					}
					continue
				}
				must(t, err)
				if grade, _ := claims.Fact("key_grade"); grade.String() != row.grade {
					t.Errorf("key_grade is %s, want %s", grade, row.grade)
				}
			}
			// The certificate goes to the key manager, where the node's other plugins find it.
			enlist := &wire.Enlist{
				AgentID: agentID, Certificates: [][]byte{certificate(t, newest)},
				CA:        certificate(t, newest),
				Addresses: []string{"tcp:attestd.example.org:1"}, SnapshotKey: make([]byte, 32),
				NotAfter: time.Now().Add(time.Hour).UTC(),
			}
			talk.tell(written(t, &attestwire.Outcome{
				V: 1, AgentID: agentID, AppraisalID: "0191", Grade: wire.Grade(row.grade),
				Enlist: enlist,
			}))
			must(t, talk.hear(&attestwire.Receipt{}))
			if _, err := talk.stream.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("after the receipt: %v, want the end", err)
			}
			client, err := keysocket.Dial(m.runtimeDir)
			must(t, err)
			defer client.Close() //nolint:errcheck // only read
			kept, ok, err := client.Enlist(t.Context())
			if err != nil || !ok || kept.AgentID != agentID {
				t.Errorf("the key manager has %+v, %v, %v", kept, ok, err)
			}
			if log := a.log.String(); !strings.Contains(log, "attested") ||
				!strings.Contains(log, "0191") {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// certificate is one over the key, of a CA of its own.
func certificate(t *testing.T, spki []byte) []byte {
	t.Helper()
	public, err := x509.ParsePKIXPublicKey(spki)
	must(t, err)
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "node"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, signer)
	must(t, err)
	return der
}

// TestAChallengeThatMayNotBeAnsweredGetsNoEvidence: what it would get could be used elsewhere to
// pass for this machine.
func TestAChallengeThatMayNotBeAnsweredGetsNoEvidence(t *testing.T) {
	m := newMachine(t)
	keys := m.keyManager("memory")
	keys.generate("agent-svid-A")
	v, other := newVerifier(t), newVerifier(t)
	pinned := filepath.Join(t.TempDir(), "keys.json")
	must(t, os.WriteFile(pinned, v.keys(), 0o600))
	issue := func(change func(*challenge.Reply)) []byte {
		_, message := v.issue(change)
		return message
	}
	_, foreign := other.issue(nil)
	for _, row := range []struct {
		name    string
		message []byte
		more    string
		code    codes.Code
		want    string
	}{
		{"of another trust domain",
			issue(func(r *challenge.Reply) { r.Challenge.TrustDomain = "example.com" }), "",
			codes.PermissionDenied, "trust domain"},
		{"for another tenant", issue(func(r *challenge.Reply) { r.Challenge.Tenant = "red" }), "",
			codes.PermissionDenied, "tenant"},
		{"for another format",
			issue(func(r *challenge.Reply) { r.Challenge.Format = attestd.FormatNitro }), "",
			codes.PermissionDenied, "format"},
		{"that is over",
			issue(func(r *challenge.Reply) { r.Challenge.ExpiresAt = time.Now().Add(-time.Second) }), "", codes.FailedPrecondition, "was over"},
		{"under another attestd's keys", foreign, `verifier_keys_file = "` + pinned + `"`,
			codes.PermissionDenied, "not in the set"},
		{"with a signature that its keys did not make", v.message(wire.NodeChallenge{
			Challenge: unwrap(t, foreign).Challenge, Keys: v.keys(),
		}), "", codes.PermissionDenied, "not in the set"},
		{"with a credential of another TPM", issue(func(r *challenge.Reply) {
			r.Activation = &challenge.Activation{CredentialBlob: make([]byte, 68),
				EncryptedSecret: make([]byte, 256)}
		}), "", codes.FailedPrecondition, "credential"},
		// neg: 193
		{"with something beside it", bytes.Replace(issue(nil), []byte("{"), []byte(`{"x":1,`), 1),
			"", codes.InvalidArgument, "unknown key"},
		{"that is none", []byte("{}"), "", codes.InvalidArgument, "v is 0"},
		{"that is an outcome", written(t, &attestwire.Outcome{
			V: 1, AgentID: agentID, AppraisalID: "0191", Grade: wire.GradeNone,
		}), "", codes.InvalidArgument, "unknown key"},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := newAgent(t, m.config(row.more))
			talk := a.aid(t)
			_, err := talk.opening()
			must(t, err)
			talk.tell(row.message)
			err = talk.hear(&attestwire.Answer{})
			if status.Code(err) != row.code || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %s with %q", err, row.code, row.want)
			}
			if log := a.log.String(); !strings.Contains(log, row.want) {
				t.Errorf("the log does not say why: %s", log)
			}
		})
	}
}

func unwrap(t *testing.T, message []byte) wire.NodeChallenge {
	t.Helper()
	var read attestwire.Challenge
	must(t, attestwire.Decode(message, &read))
	return read.Challenge
}

func TestAnOutcomeThatIsNotThisNodesIsRefused(t *testing.T) {
	m := newMachine(t)
	keys := m.keyManager("memory")
	own := keys.generate("agent-svid-A")
	another, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	anotherSPKI, err := x509.MarshalPKIXPublicKey(&another.PublicKey)
	must(t, err)
	a := newAgent(t, m.config())
	good := attestwire.Outcome{V: 1, AgentID: agentID, AppraisalID: "0191", Grade: wire.GradeBound}
	for _, row := range []struct {
		name   string
		change func(*attestwire.Outcome)
		want   codes.Code
	}{
		{"as it should be", func(o *attestwire.Outcome) {
			o.Enlist = &wire.Enlist{AgentID: agentID, Certificates: [][]byte{certificate(t, own)}}
		}, codes.OK},
		{"without a certificate", func(*attestwire.Outcome) {}, codes.OK},
		{"a certificate for another key", func(o *attestwire.Outcome) { // neg: 141
			o.Enlist = &wire.Enlist{AgentID: agentID, Certificates: [][]byte{certificate(t,
				anotherSPKI)}}
		}, codes.PermissionDenied},
		{"a certificate that is none", func(o *attestwire.Outcome) {
			o.Enlist = &wire.Enlist{AgentID: agentID, Certificates: [][]byte{{1}}}
		}, codes.PermissionDenied},
		{"no certificate in it",
			func(o *attestwire.Outcome) { o.Enlist = &wire.Enlist{AgentID: agentID} },
			codes.PermissionDenied},
		// neg: 142
		{"an id of a workload",
			func(o *attestwire.Outcome) { o.AgentID = "spiffe://example.org/web" },
			codes.PermissionDenied},
		{"an id of another trust domain", func(o *attestwire.Outcome) {
			o.AgentID = "spiffe://example.com/spire/agent/attestd/tpm/m1"
		}, codes.PermissionDenied},
	} {
		t.Run(row.name, func(t *testing.T) {
			talk := a.aid(t)
			_, err := talk.opening()
			must(t, err)
			_, message := newVerifier(t).issue(nil)
			talk.tell(message)
			must(t, talk.hear(&attestwire.Answer{}))
			outcome := good
			row.change(&outcome)
			talk.tell(written(t, &outcome))
			if err := talk.hear(&attestwire.Receipt{}); status.Code(err) != row.want {
				t.Errorf("got %v, want %s", err, row.want)
			}
		})
	}
}

// TestWithoutItsKeyAMachineDoesNotAttest: never with a key that is not the agent's, and never
// without one where one is demanded.
func TestWithoutItsKeyAMachineDoesNotAttest(t *testing.T) {
	m := newMachine(t)
	a := newAgent(t, m.config())
	if _, err := a.aid(t).opening(); status.Code(err) != codes.FailedPrecondition &&
		status.Code(err) != codes.Unavailable {
		t.Errorf("without a key manager: %v", err)
	}
	keys := m.keyManager("tpm")
	if _, err := a.aid(t).opening(); err == nil || !strings.Contains(err.Error(), "key") {
		t.Errorf("before a key was made: %v", err)
	}
	keys.generate("agent-svid-A")
	if _, err := a.aid(t).opening(); err != nil {
		t.Errorf("with it: %v", err)
	}
	// A machine that was started anew has lost it, and makes no other in its place.
	must(t, m.tpm.Reboot())
	if _, err := a.aid(t).opening(); err == nil || !strings.Contains(err.Error(),
		"the agent's key") {
		t.Errorf("after a restart: %v", err)
	}
}

// TestAnotherKeyThanTheAgentsIsNotCertified: the file of another key lies where the newest one's
// is.
func TestAnotherKeyThanTheAgentsIsNotCertified(t *testing.T) {
	m := newMachine(t)
	keys := m.keyManager("tpm")
	keys.generate("agent-svid-A")
	old, err := filepath.Glob(filepath.Join(m.stateDir, "*.tpmkey"))
	must(t, err)
	keys.generate("agent-svid-B")
	both, err := filepath.Glob(filepath.Join(m.stateDir, "*.tpmkey"))
	must(t, err)
	if len(old) != 1 || len(both) != 2 {
		t.Fatalf("files %v, then %v", old, both)
	}
	text, err := os.ReadFile(old[0])
	must(t, err)
	for _, path := range both {
		must(t, os.WriteFile(path, text, 0o600))
	}
	a := newAgent(t, m.config())
	if _, err := a.aid(t).opening(); status.Code(err) != codes.FailedPrecondition ||
		!strings.Contains(err.Error(), "newest") {
		t.Errorf("got %v", err)
	}
}

func TestWithoutKeyBindingNoKeyIsNamed(t *testing.T) {
	m := newMachine(t)
	text := strings.Replace(m.config(`key_binding = "none"`), `runtime_dir = "`+m.runtimeDir+`"`,
		"", 1)
	a := newAgent(t, text)
	talk := a.aid(t)
	_, err := talk.opening()
	must(t, err)
	_, message := newVerifier(t).issue(nil)
	talk.tell(message)
	var answer attestwire.Answer
	must(t, talk.hear(&answer))
	if len(answer.KeySPKI) != 0 {
		t.Error("a key was named")
	}
	if !strings.Contains(a.log.String(), "not bound") {
		t.Error("the log does not warn")
	}
}

func TestTheEnrolmentTokenGoesAlong(t *testing.T) {
	m := newMachine(t)
	m.keyManager("memory").generate("agent-svid-A")
	file := filepath.Join(t.TempDir(), "token")
	a := newAgent(t, m.config(`enrolment_token_file = "`+file+`"`))
	ask := func() (attestwire.Answer, error) {
		talk := a.aid(t)
		_, err := talk.opening()
		must(t, err)
		_, message := newVerifier(t).issue(nil)
		talk.tell(message)
		var answer attestwire.Answer
		err = talk.hear(&answer)
		return answer, err
	}
	if answer, err := ask(); err != nil || answer.EnrolmentToken != "" {
		t.Errorf("without the file: %q, %v", answer.EnrolmentToken, err)
	}
	must(t, os.WriteFile(file, []byte("attestd-enrol-x\n"), 0o600))
	if answer, err := ask(); err != nil || answer.EnrolmentToken != "attestd-enrol-x" {
		t.Errorf("with it: %q, %v", answer.EnrolmentToken, err)
	}
	for name, text := range map[string]string{
		"empty": " \n", "two words": "a b", "two lines": "a\nb", "long": strings.Repeat("a", 300),
	} {
		must(t, os.WriteFile(file, []byte(text), 0o600))
		if answer, err := ask(); err == nil || !strings.Contains(err.Error(),
			"enrolment_token_file") {
			t.Errorf("%s: %q, %v", name, answer.EnrolmentToken, err)
		}
	}
	if strings.Contains(a.log.String(), "attestd-enrol-x") { // neg: 166
		t.Error("the log holds the token")
	}
}

// noKeys is a key manager that answers and has no key.
type noKeys struct{}

func (noKeys) Newest(context.Context) (agentattestor.AgentKey, error) {
	return agentattestor.AgentKey{Kind: keysocket.KindMemory}, nil
}

func (noKeys) PutEnlist(context.Context, wire.Enlist) error { return nil }

// TestAKeyWithoutAKeyIsNone: evidence that binds nothing is never given in place of evidence that
// must.
func TestAKeyWithoutAKeyIsNone(t *testing.T) {
	if err := agentattestor.Prepare(t.Context(), noKeys{}); err == nil {
		t.Error("an answer without a key was taken")
	}
	if err := agentattestor.Prepare(t.Context(), nil); err != nil {
		t.Errorf("without key binding: %v", err)
	}
}

// neg: 190
func TestAPanicEndsOneAttestation(t *testing.T) {
	a := serve(t, agentattestor.NewBroken)
	must(t, configure(a.config, "format = \"tpm\"\ntenant = \"blue\"\nkey_binding = \"none\"\n"))
	for range 3 {
		if _, err := a.aid(t).opening(); status.Code(err) != codes.Internal {
			t.Fatalf("got %v, want Internal", err)
		}
	}
	if !strings.Contains(a.log.String(), "goes on") {
		t.Errorf("log: %s", a.log)
	}
}
