package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
)

// BenchmarkVerify says what the edge and the store add to a judgement of the same evidence.
func BenchmarkVerify(b *testing.B) {
	w := newWorld(b, options{})
	evidence := w.enclave(nil)
	b.Run("judge alone", func(b *testing.B) {
		recorded := w.verdict(w.do(http.MethodPost, "/v1/verify-recorded?format=nitro", rawType, evidence))
		for b.Loop() {
			given, err := w.local.Judge(b.Context(), service.Job{
				Format: attestd.FormatNitro, Evidence: evidence, At: time.Now(), Policy: w.policy,
				Demand: service.DemandSpec{Mode: service.DemandRecorded},
			})
			if err != nil || given.Verdict != recorded.Verdict {
				b.Fatal(given, err)
			}
		}
	})
	b.Run("over HTTP, nothing stored", func(b *testing.B) {
		for b.Loop() {
			w.verdict(w.do(http.MethodPost, "/v1/verify-recorded?format=nitro", rawType, evidence))
		}
	})
	b.Run("over HTTP, with a challenge", func(b *testing.B) {
		for b.Loop() {
			issued := w.challenge(attestd.FormatNitro, nil).Challenge
			w.verdict(w.do(http.MethodPost, "/v1/verify?format=nitro&challenge_id="+issued.ID, rawType, evidence))
		}
	})
}
