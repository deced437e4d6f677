package tpm_test

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/attester/tpm"
)

// attest answers a verifier; post sends a JSON document there and returns the answer. The page
// docs/attester.md shows what is between the marks.
func attest(
	ctx context.Context, verifier attester.Verifier, spec, stateDir string,
	post func(path string, body map[string]any) ([]byte, error),
) error {
	// begin
	device, err := tpm.Open(spec, tpm.Options{StateDir: stateDir})
	if err != nil {
		return err
	}
	identity, err := device.Identity(ctx)
	if err != nil {
		return err
	}
	key, err := device.Key(ctx, "agent") // a crypto.Signer, as tls.Certificate takes it
	if err != nil {
		return err
	}
	reply, err := post("/v1/challenges", map[string]any{
		"format": "tpm", "attestation_key": identity.AKPublic, "endorsement_key": identity.EKPublic,
	})
	if err != nil {
		return err
	}
	challenge, err := verifier.Accept(reply, attestd.FormatTPM, time.Now())
	if err != nil {
		return err
	}
	answer := map[string]any{"challenge_id": challenge.ID(), "format": "tpm", "key_spki": key.SPKI()}
	if blob, secret, ok := challenge.Activation(); ok {
		if answer["activation_secret"], err = device.Activate(ctx, blob, secret); err != nil {
			return err
		}
	}
	freshness, err := challenge.Freshness(key.SPKI())
	if err != nil {
		return err
	}
	evidence, err := device.Collect(ctx, tpm.Request{Freshness: freshness, Key: key})
	if err != nil {
		return err
	}
	answer["evidence"] = evidence.Bytes
	_, err = post("/v1/verify", answer)
	// end
	return err
}

// TestTheExampleOfThePageIsThisOne keeps docs/attester.md to code that compiles and runs.
func TestTheExampleOfThePageIsThisOne(t *testing.T) {
	chip, _ := manufacture(t)
	asked := 0
	err := attest(t.Context(), attester.Verifier{TrustDomain: "example.org"}, "swtpm:"+chip.Socket(), t.TempDir(),
		func(_ string, body map[string]any) ([]byte, error) {
			asked++
			if body["attestation_key"] == nil {
				t.Errorf("asked for a challenge with %v", body)
			}
			return []byte("{}"), nil
		})
	if err == nil || !strings.Contains(err.Error(), "challenge document") || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}

	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := bytes.Cut(source, []byte("\t// begin\n"))
	body, _, _ = bytes.Cut(body, []byte("\t// end\n"))
	page, err := os.ReadFile("../../docs/attester.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if !bytes.Contains(page, []byte(strings.TrimPrefix(line, "\t"))) {
			t.Errorf("docs/attester.md lacks %q", line)
		}
	}
}
