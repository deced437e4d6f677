package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/swtpm"
	"github.com/attestd/attestd/testvectors/forge"
	verifier "github.com/attestd/attestd/verifiers/tpm"
)

// newTPM makes and starts a software TPM in a folder of its own.
func newTPM(folder string) (*swtpm.TPM, *swtpm.CA, error) {
	ca, err := swtpm.NewCA(folder)
	if err != nil {
		return nil, nil, err
	}
	tpm, err := ca.Manufacture(context.Background(), "one")
	if err != nil {
		return nil, nil, err
	}
	return tpm, ca, tpm.Start()
}

// machineOf is where a script keeps the machine that the command swtpm started.
type machineOf struct{ tpm *swtpm.TPM }

// bootInto measures a boot into a TPM that was just started, and writes its log to boot.log.
func bootInto(ts *testscript.TestScript, tpm *swtpm.TPM, boot *forge.Boot) {
	for _, extension := range boot.Extensions() {
		ts.Check(tpm.Extend(extension.PCR, extension.Digests))
	}
	ts.Check(os.WriteFile(ts.MkAbs("boot.log"), boot.Log(), 0o600))
}

// startTPM is the command swtpm: it starts a software TPM until the script ends, boots a machine into
// it, whose log is in boot.log, and sets TPM to its socket, TPM_ROOT and TPM_ISSUER to the certificates
// of its maker. swtpm reboot [WORD...] boots that machine anew, as the words of forgedTPM say; swtpm
// extend PCR TEXT measures something that no log knows of.
func startTPM(ts *testscript.TestScript, negated bool, args []string) {
	machine, ok := ts.Value("machine").(*machineOf)
	switch {
	case negated || !ok:
		ts.Fatalf("usage: swtpm [reboot [WORD...] | extend PCR TEXT]")
	case len(args) > 0 && machine.tpm != nil && args[0] == "reboot":
		ts.Check(machine.tpm.Reboot())
		bootInto(ts, machine.tpm, bootOf(args[1:]))
		return
	case len(args) == 3 && machine.tpm != nil && args[0] == "extend":
		pcr, err := strconv.ParseUint(args[1], 10, 5)
		ts.Check(err)
		ts.Check(machine.tpm.Extend(uint32(pcr), map[uint16][]byte{forge.LogSHA256: sum(args[2])}))
		return
	case len(args) != 0:
		ts.Fatalf("usage: swtpm [reboot [WORD...] | extend PCR TEXT]")
	}
	folder := ts.MkAbs("swtpm")
	ts.Check(os.MkdirAll(folder, 0o700))
	tpm, ca, err := newTPM(folder)
	ts.Check(err)
	ts.Defer(func() { _ = tpm.Close() })
	machine.tpm = tpm
	bootInto(ts, tpm, bootOf(nil))
	ts.Setenv("TPM", tpm.Socket())
	ts.Setenv("TPM_ROOT", ca.RootFile())
	ts.Setenv("TPM_ISSUER", ca.IssuerFile())
}

// makeChallenge is the command challenge FORMAT [late]: it writes challenge.json of trust domain
// example.org.
func makeChallenge(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) == 0 {
		ts.Fatalf("usage: challenge FORMAT [late]")
	}
	newChallenge(ts, attestd.Format(args[0]), nil, slices.Contains(args, "late"))
	// An attester takes what looks like a JWS alone.
	doc := strings.Replace(ts.ReadFile("challenge.json"), "not looked at here", "not.looked.at", 1)
	ts.Check(os.WriteFile(ts.MkAbs("challenge.json"), []byte(doc), 0o600))
}

// fakeVerifier answers as a verifier does, and otherwise where a test says so.
type fakeVerifier struct {
	t      *testing.T
	signer *challenge.Signer
	// change changes a challenge before it is signed; verdict makes the answer to evidence.
	change  func(*attestd.Challenge)
	verdict func(evidence string) (status int, body any)
	// first answers the wish for a challenge, where it is set.
	first func(w http.ResponseWriter)

	wished, handedIn map[string]any
}

func (f *fakeVerifier) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		f.t.Error(err)
	}
	switch {
	case r.URL.Path == "/v1/challenges" && f.first != nil:
		f.first(w)
	case r.URL.Path == "/v1/challenges":
		f.wished = body
		now := time.Now().UTC()
		given := attestd.Challenge{
			ID: "c1", Nonce: []byte(strings.Repeat("n", 32)), TrustDomain: "localhost",
			VerifierKeyID: f.signer.KeyID(), Tenant: "default", Purpose: "verify", Format: attestd.FormatTPM,
			IssuedAt: now, ExpiresAt: now.Add(time.Minute),
		}
		if f.change != nil {
			f.change(&given)
		}
		signature, err := f.signer.Sign(given)
		if err != nil {
			f.t.Error(err)
		}
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(challenge.Reply{
			Schema: challenge.Schema, Challenge: given, Signature: signature, Activated: true,
		})
	case r.URL.Path == "/v1/verify":
		f.handedIn = body
		evidence, _ := body["evidence"].(string)
		status, answer := f.verdict(evidence)
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer)
	default:
		f.t.Errorf("asked for %s", r.URL.Path)
	}
}

// appraisalOf is a verdict about evidence in base64.
func appraisalOf(t *testing.T, evidence string, verdict attestd.Verdict) attestd.Appraisal {
	t.Helper()
	var raw []byte
	if err := json.Unmarshal([]byte(`"`+evidence+`"`), &raw); err != nil {
		t.Error(err)
	}
	digest := sha256.Sum256(raw)
	return attestd.Appraisal{
		Schema: attestd.VerdictSchema, Verdict: verdict, Format: attestd.FormatTPM,
		Freshness: attestd.FreshnessBinding, At: time.Now().UTC(), Claims: json.RawMessage("null"),
		EvidenceSHA256: hex.EncodeToString(digest[:]),
	}
}

// What an attester makes, every command and server here takes.
func TestAttesterMakesNoMoreThanIsTaken(t *testing.T) {
	if tpm.MaxEvidence != judge.MaxEvidence {
		t.Errorf("the TPM attester makes up to %d bytes, and %d are taken", tpm.MaxEvidence, judge.MaxEvidence)
	}
}

func problemDocument(class attestd.Class) map[string]any {
	return map[string]any{"class": class, "detail": "what the verifier said", "hint": "what the verifier hints at"}
}

func TestTheAnswersOfAVerifierBecomeExitCodes(t *testing.T) {
	tpm, _, err := newTPM(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tpm.Close() })
	accepted := func(evidence string) (int, any) {
		return http.StatusOK, appraisalOf(t, evidence, attestd.VerdictAccepted)
	}
	refusal := func(status int, class attestd.Class) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(problemDocument(class))
		}
	}
	for _, row := range []struct {
		name   string
		server fakeVerifier
		flags  []string
		code   int
		want   string // in standard output or standard error
	}{
		{"accepted", fakeVerifier{verdict: accepted}, nil, exitAccepted, "ACCEPTED"},
		{"accepted, with a resident key", fakeVerifier{verdict: accepted}, []string{
			"--resident-key", "agent", "--state-dir", filepath.Join(t.TempDir(), "keys"),
		}, exitAccepted, "key: bound (sha256:"},
		{"rejected", fakeVerifier{verdict: func(evidence string) (int, any) {
			return http.StatusOK, appraisalOf(t, evidence, attestd.VerdictRejected)
		}}, nil, exitRejected, "REJECTED"},
		{"undecided", fakeVerifier{verdict: func(evidence string) (int, any) {
			return http.StatusServiceUnavailable,
				map[string]any{"appraisal": appraisalOf(t, evidence, attestd.VerdictUndecided)}
		}}, nil, exitUndecided, "UNDECIDED"},
		{"accepted, but as a problem", fakeVerifier{verdict: func(evidence string) (int, any) {
			return http.StatusServiceUnavailable,
				map[string]any{"appraisal": appraisalOf(t, evidence, attestd.VerdictAccepted)}
		}}, nil, exitUsage, "no verdict about this evidence"},
		{"a verdict about other evidence", fakeVerifier{verdict: func(string) (int, any) {
			return http.StatusOK, appraisalOf(t, "AAAA", attestd.VerdictAccepted)
		}}, nil, exitUsage, "no verdict about this evidence"},
		{"something else than a verdict", fakeVerifier{verdict: func(string) (int, any) {
			return http.StatusOK, map[string]any{"verdict": "accepted"}
		}}, nil, exitUsage, "no verdict about this evidence"},
		{"nothing", fakeVerifier{verdict: func(string) (int, any) {
			return http.StatusOK, nil
		}}, nil, exitUsage, "no verdict about this evidence"},
		{"a conflict", fakeVerifier{verdict: func(string) (int, any) {
			return http.StatusConflict, problemDocument(attestd.ClassConflict)
		}}, nil, exitRejected, "what the verifier hints at"},
		{"too many", fakeVerifier{first: refusal(429, attestd.ClassRateLimited)}, nil, exitUndecided, "what the verifier said"},
		{"an unknown format", fakeVerifier{first: refusal(400, attestd.ClassUnsupported)}, nil, exitUsage, "refused: what"},
		{"a bug over there", fakeVerifier{first: refusal(500, attestd.ClassInternal)}, nil, exitUndecided, "the verifier's log"},
		{"no problem document", fakeVerifier{first: func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusNotFound)
		}}, nil, exitUsage, "answered with status 404"},
		{"a gateway's error", fakeVerifier{first: func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusBadGateway)
		}}, nil, exitUndecided, "answered with status 502"},
		{"a redirect", fakeVerifier{first: func(w http.ResponseWriter) {
			w.Header().Set("Location", "/v1/verify")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}}, nil, exitUsage, "answered with status 307"},
		{"another trust domain", fakeVerifier{change: func(c *attestd.Challenge) {
			c.TrustDomain = "example.org"
		}}, nil, exitUsage, `trust domain "example.org", want "localhost"`},
		{"another tenant", fakeVerifier{change: func(c *attestd.Challenge) {
			c.Tenant = "blue"
		}}, nil, exitUsage, `tenant "blue" and purpose "verify", which was not asked for`},
		{"another format", fakeVerifier{change: func(c *attestd.Challenge) {
			c.Format = attestd.FormatNitro
		}}, nil, exitUsage, `format "nitro"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			server := &row.server
			server.t = t
			if server.signer, err = challenge.NewEphemeralSigner(); err != nil {
				t.Fatal(err)
			}
			listening := httptest.NewServer(server)
			defer listening.Close()
			world, stdout, stderr := quiet()
			code := run(t.Context(), world, append([]string{
				"evidence", "tpm", "--tpm", "swtpm:" + tpm.Socket(), "--server", listening.URL,
			}, row.flags...))
			if code != row.code || !strings.Contains(stdout.String()+stderr.String(), row.want) {
				t.Errorf("exit code %d, want %d and %q\n%s%s", code, row.code, row.want, stdout, stderr)
			}
			if row.code != exitAccepted {
				return
			}
			if strings.Contains(stdout.String(), "attestd measure") {
				t.Errorf("a command is suggested for evidence that was not kept:\n%s", stdout)
			}
			if server.wished["attestation_key"] == nil || server.wished["endorsement_key"] == nil {
				t.Errorf("wished with %v", server.wished)
			}
			if server.handedIn["challenge_id"] != "c1" || server.handedIn["activation_secret"] != nil ||
				(server.handedIn["key_spki"] != nil) != (row.flags != nil) {
				t.Errorf("handed in %v", server.handedIn)
			}
		})
	}
}

// The answer to a credential is a secret until the challenge is used: it goes into a file of its own,
// beside evidence that has one, and never through what lies at its path.
func TestTheAnswerToACredentialIsWrittenForThisUserAlone(t *testing.T) {
	chip, _, err := newTPM(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = chip.Close() })
	t.Chdir(t.TempDir())
	device, err := tpm.Open("swtpm:"+chip.Socket(), tpm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	who, err := device.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	secret := bytes.Repeat([]byte{7}, verifier.SecretSize)
	made, err := verifier.MakeCredential(verifier.CredentialRequest{
		AKPublic: who.AKPublic, EKPublic: who.EKPublic, Secret: secret,
		Entropy: bytes.Repeat([]byte{9}, verifier.EntropySize),
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	doc, err := json.Marshal(challenge.Reply{
		Schema: challenge.Schema, Signature: "not.looked.at",
		Challenge: attestd.Challenge{
			ID: "c1", Nonce: secret, TrustDomain: "localhost", VerifierKeyID: "k1", Tenant: "default",
			Purpose: "verify", Format: attestd.FormatTPM, IssuedAt: now, ExpiresAt: now.Add(time.Minute),
		},
		Activation: &challenge.Activation{CredentialBlob: made.Blob, EncryptedSecret: made.EncryptedSecret},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"challenge.json": doc, "theirs": nil} {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("theirs", "e.tpm.answer"); err != nil {
		t.Fatal(err)
	}
	collect := func(out string) (code int, stdout, stderr string) {
		world, written, said := quiet()
		code = run(t.Context(), world, []string{
			"evidence", "tpm", "--tpm", "swtpm:" + chip.Socket(), "--challenge", "challenge.json", "--out", out,
		})
		return code, written.String(), said.String()
	}
	if code, stdout, stderr := collect("-"); code != exitUsage || stdout != "" ||
		!strings.Contains(stderr, "no place for the answer") {
		t.Errorf("to standard output: exit code %d, %d bytes\n%s", code, len(stdout), stderr)
	}
	if left, err := filepath.Glob("-*"); err != nil || len(left) != 0 {
		t.Errorf("left are %q, %v", left, err)
	}
	code, stdout, stderr := collect("e.tpm")
	answer, err := os.ReadFile("e.tpm.answer")
	if code != exitAccepted || err != nil || !bytes.Equal(answer, secret) {
		t.Fatalf("exit code %d, answer %x, %v\n%s", code, answer, err, stderr)
	}
	if theirs, err := os.ReadFile("theirs"); err != nil || len(theirs) != 0 {
		t.Errorf("the answer went where a link led: %x, %v", theirs, err)
	}
	if info, err := os.Lstat("e.tpm.answer"); err != nil || info.Mode() != 0o600 {
		t.Errorf("the answer's file: %v, %v", info, err)
	}
	for _, form := range []string{hex.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret)} {
		if strings.Contains(stdout+stderr, form) {
			t.Error("the answer is printed")
		}
	}
}
