package sevsnp_test

import (
	"testing"

	"github.com/attestd/attestd/verifiers/sevsnp"
)

func BenchmarkVerifyWarm(b *testing.B) {
	v, input := newVerifier(b), sample(b)
	mustVerify(b, v, input)
	b.ReportAllocs()
	for b.Loop() {
		mustVerify(b, v, input)
	}
}

func BenchmarkVerifyCold(b *testing.B) {
	input := sample(b)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		v, err := sevsnp.New(sevsnp.Config{})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		mustVerify(b, v, input)
	}
}

func BenchmarkHundredCertificates(b *testing.B) {
	v, input := newVerifier(b), hostile(b)["a hundred VCEKs of other chips"]
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(input); err == nil {
			b.Fatal("accepted")
		}
	}
}
