package e2e_test

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	attestertpm "github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/internal/swtpm"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/all"
)

// machine is a software TPM with what a boot measured into it and an agent on it.
type machine struct {
	tpm    *swtpm.TPM
	device *attestertpm.Device
	folder string
}

// newMachine clones a TPM that was never started, starts it, and boots the log.
func newMachine(t *testing.T, template *swtpm.TPM, name string, boot *forge.Boot) *machine {
	t.Helper()
	tpm, err := template.Clone(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tpm.Close(); err != nil {
			t.Error(err)
		}
	})
	return started(t, tpm, boot)
}

// started starts a TPM that is off and boots the log.
func started(t *testing.T, tpm *swtpm.TPM, boot *forge.Boot) *machine {
	t.Helper()
	m := &machine{tpm: tpm, folder: t.TempDir()}
	var err error
	m.device, err = attestertpm.Open("swtpm:"+tpm.Socket(), attestertpm.Options{
		StateDir: m.folder, BootLog: m.bootLog(), IMALog: attestertpm.Off,
		Intermediates: intermediates(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := tpm.Start(); err != nil {
		t.Fatal(err)
	}
	m.boot(t, boot)
	return m
}

// intermediates are the certificates that no TPM carries.
func intermediates(t *testing.T) [][]byte {
	t.Helper()
	issuer, err := made.ca.IssuerPEM()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(issuer)
	return [][]byte{block.Bytes}
}

func (m *machine) bootLog() string { return filepath.Join(m.folder, "boot.log") }

// boot does what the firmware of a machine does: it extends the PCRs and leaves its log.
func (m *machine) boot(t *testing.T, boot *forge.Boot) {
	t.Helper()
	m.extend(t, boot.Extensions()...)
	write(t, m.bootLog(), boot.Log())
}

// reboot stops the TPM in order, starts it and boots the log.
func (m *machine) reboot(t *testing.T, boot *forge.Boot) {
	t.Helper()
	if err := m.tpm.Reboot(); err != nil {
		t.Fatal(err)
	}
	m.boot(t, boot)
}

func (m *machine) extend(t *testing.T, extensions ...forge.Extension) {
	t.Helper()
	for _, one := range extensions {
		if err := m.tpm.Extend(one.PCR, one.Digests); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *machine) identity(t *testing.T) attestertpm.Identity {
	t.Helper()
	identity, err := m.device.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return identity
}

// key returns the machine's signing key for this boot.
func (m *machine) key(t *testing.T) *attestertpm.Key {
	t.Helper()
	key, err := m.device.Key(t.Context(), "service")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// question is a challenge with the credential that came with it.
type question struct {
	server     server
	tenant     string
	challenge  attester.Challenge
	activated  bool
	credential *struct {
		Blob   []byte `json:"credential_blob"`
		Secret []byte `json:"encrypted_secret"`
	}
}

// ask gets a challenge for the keys of a TPM, and accepts it as an agent does: under the trust domain
// and the keys that it knows from before. The zero identity asks without a credential.
func (s server) ask(t *testing.T, tenant string, identity attestertpm.Identity) question {
	t.Helper()
	keys := s.keySet(t)
	wish := map[string]any{"format": "tpm", "tenant": tenant}
	if identity.AKPublic != nil {
		wish["attestation_key"], wish["endorsement_key"] = identity.AKPublic, identity.EKPublic
	}
	status, answer := s.post(t, "/v1/challenges", wish)
	if status != http.StatusCreated {
		t.Fatalf("status %d: %s", status, answer)
	}
	asked := question{server: s, tenant: tenant}
	var err error
	asked.challenge, err = attester.Verifier{TrustDomain: trustDomain, KeySet: keys}.
		Accept(answer, attestd.FormatTPM, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	credential := struct {
		Activation any  `json:"activation"`
		Activated  bool `json:"activated"`
	}{Activation: &asked.credential}
	if err := json.Unmarshal(answer, &credential); err != nil {
		t.Fatal(err)
	}
	asked.activated = credential.Activated
	return asked
}

// activate answers the challenge's credential; nil where there is none.
func (m *machine) activate(t *testing.T, asked question) []byte {
	t.Helper()
	if asked.credential == nil {
		return nil
	}
	secret, err := m.device.Activate(t.Context(), asked.credential.Blob, asked.credential.Secret)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// collect returns evidence for the challenge, bound to spki and with key certified; nil for none.
func (m *machine) collect(
	t *testing.T, asked question, spki []byte, key *attestertpm.Key,
) []byte {
	t.Helper()
	freshness, err := asked.challenge.Freshness(spki)
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := m.device.Collect(t.Context(), attestertpm.Request{Freshness: freshness, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return evidence.Bytes
}

// body is the request that hands evidence in.
func (q question) body(evidence, secret, spki []byte) map[string]any {
	body := map[string]any{
		"challenge_id": q.challenge.ID(), "format": "tpm", "tenant": q.tenant, "evidence": evidence,
	}
	if secret != nil {
		body["activation_secret"] = secret
	}
	if spki != nil {
		body["key_spki"] = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))
	}
	return body
}

// judge hands evidence in.
func (q question) judge(t *testing.T, evidence, secret, spki []byte) attestd.Appraisal {
	t.Helper()
	return q.server.verdict(t, q.body(evidence, secret, spki))
}

// attest is the whole exchange of an honest machine, with a key that lives in its TPM.
func (m *machine) attest(t *testing.T, s server, tenant string) attestd.Appraisal {
	t.Helper()
	asked := s.ask(t, tenant, m.identity(t))
	secret := m.activate(t, asked)
	key := m.key(t)
	return asked.judge(t, m.collect(t, asked, key.SPKI(), key), secret, key.SPKI())
}

// changed takes evidence apart, lets edit change it, and puts it together.
func changed(t *testing.T, container []byte, edit func(*tpmevidence.Evidence)) []byte {
	t.Helper()
	evidence, err := tpmevidence.Parse(container)
	if err != nil {
		t.Fatal(err)
	}
	edit(&evidence)
	out, err := evidence.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// decisive returns the check that an unfavourable verdict rests on.
func decisive(verdict attestd.Appraisal) attestd.CheckID {
	for _, reason := range verdict.Reasons {
		if reason.Effect != attestd.EffectScored {
			return reason.Check
		}
	}
	return ""
}

// wantAccepted wants an acceptance; it returns the facts.
func wantAccepted(t *testing.T, verdict attestd.Appraisal) map[string]any {
	t.Helper()
	if verdict.Verdict != attestd.VerdictAccepted {
		t.Fatalf("%v by %s, want accepted; reasons: %+v", verdict.Verdict, decisive(verdict), verdict.Reasons)
	}
	var facts map[string]any
	if err := json.Unmarshal(verdict.Claims, &facts); err != nil {
		t.Fatal(err)
	}
	return facts
}

// wantRejected wants a rejection by exactly this check.
func wantRejected(t *testing.T, verdict attestd.Appraisal, by attestd.CheckID) {
	t.Helper()
	if verdict.Verdict != attestd.VerdictRejected || decisive(verdict) != by {
		t.Fatalf("%v by %q, want rejected by %q; reasons: %+v", verdict.Verdict, decisive(verdict), by,
			verdict.Reasons)
	}
	if id := verdict.ID; id == "" && by != "challenge/known" {
		t.Error("the verdict was not kept")
	}
}

// wantFact compares facts as JSON gives them.
func wantFact(t *testing.T, facts map[string]any, name string, want any) {
	t.Helper()
	if got := facts[name]; got != want {
		t.Errorf("fact %s is %v, want %v", name, got, want)
	}
}

// reasonText is what a verdict says of a check that did not pass; empty where it passed.
func reasonText(verdict attestd.Appraisal, id attestd.CheckID) string {
	for _, reason := range verdict.Reasons {
		if reason.Check == id {
			return reason.Detail
		}
	}
	return ""
}

// wantClass wants the class of the check that decided.
func wantClass(t *testing.T, verdict attestd.Appraisal, want attestd.Class) {
	t.Helper()
	verifiers, err := all.New(all.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, verifier := range verifiers {
		for _, spec := range verifier.Checks() {
			if spec.ID == decisive(verdict) && spec.Class != want {
				t.Errorf("%s has class %s, want %s", spec.ID, spec.Class, want)
			}
		}
	}
}
