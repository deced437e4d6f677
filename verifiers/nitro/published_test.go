package nitro_test

import (
	"errors"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors"
)

// published returns the documents that hardware signed and that could be loaded.
func published(t testing.TB) []testvectors.Vector {
	t.Helper()
	corpus, err := testvectors.Load(testvectors.FromEnvironment())
	if err != nil {
		t.Fatal(err)
	}
	vectors := corpus.Format(attestd.FormatNitro)
	if len(vectors) == 0 {
		t.Fatal("no published document could be loaded")
	}
	return vectors
}

// TestPublishedDocuments runs every published document at its own time and long after it.
func TestPublishedDocuments(t *testing.T) {
	t.Parallel()
	for _, vector := range published(t) {
		t.Run(vector.Name, func(t *testing.T) {
			t.Parallel()
			v := verifier(t)
			input := attestd.Input{Evidence: vector.Evidence, At: vector.At, Demand: attestd.Recorded()}
			if !v.Detect(vector.Evidence) {
				t.Error("not detected")
			}
			claims, err := v.Verify(input)
			var rejected *attestd.EvidenceError
			switch {
			case vector.Expect == attestd.VerdictAccepted || vector.Check == "nitro/debug":
				// Debug is for the policy to judge: the document itself is authentic.
				if err != nil {
					t.Fatal(err)
				}
				debug, _ := claims.Fact("debug")
				if got, _ := debug.Bool(); got != (vector.Check == "nitro/debug") {
					t.Errorf("debug is %v", got)
				}
				if claims.InsecureRoots() {
					t.Error("AWS's root was taken for an insecure one")
				}
			case !errors.As(err, &rejected) || rejected.Check != vector.Check:
				t.Fatalf("got %v, want a rejection by %s", err, vector.Check)
			}
			// neg: 37
			input.At = vector.At.Add(10 * 365 * 24 * time.Hour)
			if _, err := v.Verify(input); err == nil {
				t.Error("accepted ten years after its leaf expired")
			}
		})
	}
}
