package tpmtrust_test

import (
	"testing"

	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/internal/tpm2"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
)

// BenchmarkEndorsement asks about a chip whose certificate was seen before, and about one that was
// not.
func BenchmarkEndorsement(b *testing.B) {
	query := tpmtrust.EKQuery{Certificate: real(b, "ek-stm-st33htphahd8"), At: forge.TPMTime}
	b.Run("known", func(b *testing.B) {
		s := store(b, tpmtrust.Config{})
		ek, _ := s.Endorsement(query)
		ek.Keep()
		for b.Loop() {
			if _, fault := s.Endorsement(query); fault != nil {
				b.Fatal(fault)
			}
		}
	})
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			s := store(b, tpmtrust.Config{})
			_, _ = s.Endorsement(tpmtrust.EKQuery{
				Certificate: real(b, "ek-infineon-slb9665"), At: forge.TPMTime,
			})
			b.StartTimer()
			if _, fault := s.Endorsement(query); fault != nil {
				b.Fatal(fault)
			}
		}
	})
}

// BenchmarkMakeCredential makes credentials for both kinds of endorsement key.
func BenchmarkMakeCredential(b *testing.B) {
	ak := must(tpm2.ParsePublic(must(forge.NewTPMKey(forge.TPMKeyConfig{}))(b).Public))(b)
	for _, m := range machines(b) {
		b.Run(m.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := tpmtrust.MakeCredential(tpmtrust.CredentialInput{
					AK: ak, EK: m.public, Secret: make([]byte, 32), Entropy: entropy(9),
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
