package tpm_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
)

// FuzzTPM: whatever comes, the answer is a rejection of a class, or claims for bytes whose quote was
// signed, and the input is not written to.
func FuzzTPM(f *testing.F) {
	activated := newScene(f, "ECDSA P-256", "ECC EK")
	activated.key = activated.world.keys["agent"]
	logs := newScene(f, "RSAPSS", "RSA EK")
	logs.boots(forge.BootOptions{SecureBoot: true})
	kernel(logs, 3).send(logs, 0)
	activated.input.Anchors.AttestationKeys = [][32]byte{
		spki(f, activated.world.keys["ECDSA P-256"]), spki(f, activated.world.keys["RSAPSS"])}
	activated.input.Anchors.Activation = nil
	base := activated.build()
	signed := map[string]bool{}
	for _, evidence := range [][]byte{base.Evidence, logs.build().Evidence} {
		f.Add(evidence)
		parts, err := tpmevidence.Parse(evidence)
		if err != nil {
			f.Fatal(err)
		}
		signed[string(parts.Quote)] = true
	}
	v := newVerifier(f)
	f.Fuzz(func(t *testing.T, evidence []byte) {
		input := base
		input.Evidence = bytes.Clone(evidence)
		claims, err := v.Verify(input)
		if !bytes.Equal(input.Evidence, evidence) {
			t.Fatal("the verifier wrote to its input")
		}
		var rejected *attestd.EvidenceError
		switch {
		case err == nil:
			parts, err := tpmevidence.Parse(evidence)
			if err != nil || !signed[string(parts.Quote)] {
				t.Fatal("accepted what nobody signed")
			}
		case claims != nil:
			t.Fatal("claims beside an error")
		case !errors.As(err, &rejected) || rejected.Class == "" || rejected.Hint == "":
			t.Fatalf("an error of no class: %v", err)
		}
		if _, err := v.Inspect(evidence); (err == nil) != tpmevidence.IsEvidence(evidence) && err == nil {
			t.Fatal("inspected what is no evidence")
		}
	})
}
