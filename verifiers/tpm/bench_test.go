package tpm_test

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	reference "github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tpm"
)

// quoteOnly is evidence of a quote over PCRs 0 to 23 and nothing else, by a key that is named.
func quoteOnly(t testing.TB, ak string) (*scene, attestd.Input) {
	s := newScene(t, ak, "")
	s.machine.EK = nil
	for index := range uint8(24) {
		s.machine.PCRs[0].Values[index] = make([]byte, 32)
	}
	s.name(s.machine.AK)
	s.fresh()
	return s, s.build()
}

// bare is the one signature of a quote, by crypto/rsa or crypto/ecdsa alone.
func bare(t testing.TB, s *scene, input attestd.Input) func() bool {
	parts, err := tpmevidence.Parse(input.Evidence)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := reference.Unmarshal[reference.TPMTSignature](parts.QuoteSignature)
	if err != nil {
		t.Fatal(err)
	}
	switch key := s.machine.AK.Signer.Public().(type) {
	case *rsa.PublicKey:
		made, err := signature.Signature.RSASSA()
		if err != nil {
			t.Fatal(err)
		}
		return func() bool {
			digest := sha256.Sum256(parts.Quote)
			return rsa.VerifyPKCS1v15(key, 5, digest[:], made.Sig.Buffer) == nil
		}
	case *ecdsa.PublicKey:
		made, err := signature.Signature.ECDSA()
		if err != nil {
			t.Fatal(err)
		}
		encoded := append(forge.DER(2, integer(made.SignatureR.Buffer)),
			forge.DER(2, integer(made.SignatureS.Buffer))...)
		encoded = forge.DER(0x30, encoded)
		return func() bool {
			digest := sha256.Sum256(parts.Quote)
			return ecdsa.VerifyASN1(key, digest[:], encoded)
		}
	}
	t.Fatal("another key")
	return nil
}

// integer drops leading zeros and adds the one that keeps a number positive.
func integer(number []byte) []byte {
	for len(number) > 1 && number[0] == 0 {
		number = number[1:]
	}
	if number[0]&0x80 != 0 {
		return append([]byte{0}, number...)
	}
	return number
}

func BenchmarkQuote(b *testing.B) {
	for _, ak := range []string{"RSASSA", "ECDSA P-256", "ECDSA P-384"} {
		s, input := quoteOnly(b, ak)
		v := newVerifier(b)
		if _, err := v.Verify(input); err != nil {
			b.Fatal(err)
		}
		if ak != "ECDSA P-384" {
			signature := bare(b, s, input)
			b.Run(ak+"/signature", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if !signature() {
						b.Fatal("bad")
					}
				}
			})
		}
		b.Run(ak+"/core", func(b *testing.B) {
			core, err := tpm.Core(v, input)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := core(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(ak+"/verify", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(input); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestCostOverOneSignature prints what the core and a whole verification cost in terms of the one
// signature, alternated call by call. It fails far above the target alone: other work on the machine
// must not fail a test.
func TestCostOverOneSignature(t *testing.T) {
	if testing.Short() {
		return
	}
	for _, ak := range []string{"RSASSA", "ECDSA P-256"} {
		s, input := quoteOnly(t, ak)
		v := newVerifier(t)
		good(t, v, input)
		core, err := tpm.Core(v, input)
		if err != nil {
			t.Fatal(err)
		}
		signature := bare(t, s, input)
		var times [3][]time.Duration
		for range 600 {
			for i, call := range []func() bool{
				signature, func() bool { return core() == nil },
				func() bool { _, err := v.Verify(input); return err == nil },
			} {
				start := time.Now()
				ok := call()
				times[i] = append(times[i], time.Since(start))
				if !ok {
					t.Fatal("refused")
				}
			}
		}
		for i := range times {
			slices.Sort(times[i])
		}
		median := func(i int) float64 { return float64(times[i][len(times[i])/2]) }
		t.Logf("%s: signature %.1f µs, core %.2f of it, whole verification %.2f", ak, median(0)/1000,
			median(1)/median(0), median(2)/median(0))
		if median(1)/median(0) > 1.5 {
			t.Errorf("%s: the core costs %.2f of its signature", ak, median(1)/median(0))
		}
	}
}

// TestAKnownKeyAllocatesLittle gates what a known key costs.
func TestAKnownKeyAllocatesLittle(t *testing.T) {
	for ak, most := range map[string]float64{"RSASSA": 45, "ECDSA P-256": 45} {
		_, input := quoteOnly(t, ak)
		v := newVerifier(t)
		good(t, v, input)
		if got := testing.AllocsPerRun(20, func() { good(t, v, input) }); got > most {
			t.Errorf("%s: %.0f allocations, want at most %.0f", ak, got, most)
		} else {
			t.Logf("%s: %.0f allocations", ak, got)
		}
	}
}
