package nitro_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

// FuzzNitro looks for input that panics, is written to, is refused without a named check, or is
// accepted though it is none of the seeds that the authority signed.
func FuzzNitro(f *testing.F) {
	a := authority(f, forge.AWSOptions{Seed: "fuzz"})
	signed := [][]byte{
		document(f, a, forge.Document{Nonce: nonce}),
		document(f, a, forge.Document{Open: true, UserData: nonce}),
		document(f, a, forge.Document{NitroTPM: true}),
	}
	for _, seed := range signed {
		f.Add(seed)
	}
	for _, seed := range published(f) {
		f.Add(seed.Evidence)
	}
	f.Fuzz(func(t *testing.T, evidence []byte) {
		// A verifier of its own, so that the same input takes the same way every time.
		v, before := verifier(t, a.Root()), bytes.Clone(evidence)
		_ = v.Detect(evidence)
		_, inspectErr := v.Inspect(evidence)
		claims, err := v.Verify(attestd.Input{Evidence: evidence, At: a.At(), Demand: attestd.Recorded()})
		if !bytes.Equal(before, evidence) {
			t.Fatal("the input was written to")
		}
		if err == nil {
			// All but the signature was signed, and (r, n-s) is the one other signature.
			if inspectErr != nil || !claims.Proven() || !knownBody(signed, evidence) {
				t.Fatalf("accepted %x", evidence)
			}
			return
		}
		var rejected *attestd.EvidenceError
		if claims != nil || !errors.As(err, &rejected) || rejected.Check == "" || rejected.Class == "" {
			t.Fatalf("refused without a check: %v", err)
		}
	})
}

func knownBody(signed [][]byte, evidence []byte) bool {
	for _, one := range signed {
		if len(one) == len(evidence) && bytes.Equal(one[:len(one)-96], evidence[:len(one)-96]) {
			return true
		}
	}
	return false
}
