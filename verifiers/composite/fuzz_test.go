package composite_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/compositeevidence"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/composite"
)

// FuzzComposite: whatever comes, the answer is a rejection or claims for devices that were signed, and
// the input is not written to.
func FuzzComposite(f *testing.F) {
	signed := map[string]bool{}
	for _, machine := range [][]forge.CompositePart{
		{domain(f), chip(f, nil)}, {domain(f), chip(f, theWorld(f).agent)},
	} {
		evidence, err := forge.Composite(root, machine...)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(evidence)
		parsed, err := compositeevidence.Parse(evidence)
		if err != nil {
			f.Fatal(err)
		}
		// Another signature over the same is no other statement: what is looked for is what was signed.
		for _, device := range parsed.Devices {
			signed[string(device.Evidence[:256])] = true
		}
	}
	v, err := composite.New(composite.Config{Parts: quickParts(f)})
	if err != nil {
		f.Fatal(err)
	}
	base := bareInput(f, fresh(f, root), nil)
	f.Fuzz(func(t *testing.T, evidence []byte) {
		asked := base
		asked.Evidence = bytes.Clone(evidence)
		claims, err := v.Verify(asked)
		_, _ = v.Inspect(asked.Evidence)
		if !bytes.Equal(asked.Evidence, evidence) {
			t.Fatal("the verifier wrote to its input")
		}
		var rejected *attestd.EvidenceError
		var undecided *attestd.UndecidedError
		switch {
		case err == nil:
			parsed, err := compositeevidence.Parse(evidence)
			if err != nil || !claims.Proven() {
				t.Fatalf("accepted %x", evidence)
			}
			for _, device := range parsed.Devices {
				if len(device.Evidence) < 256 || !signed[string(device.Evidence[:256])] {
					t.Fatalf("accepted what nobody signed as %s", device.Path)
				}
			}
		case claims != nil:
			t.Fatal("claims beside an error")
		case errors.As(err, &rejected):
			if rejected.Check == "" || rejected.Class == "" || rejected.Hint == "" {
				t.Fatalf("refused without a check: %v", err)
			}
		case !errors.As(err, &undecided):
			t.Fatalf("refused without a check: %v", err)
		}
	})
}
