package nitro_test

import (
	"bytes"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
)

// warmAllocations is the most that a verification with a known leaf may allocate. Measured: 42, of
// which 17 are the curve's arithmetic; reading the document and its chain takes 10.
const warmAllocations = 46

func TestAWarmVerificationAllocatesLittle(t *testing.T) {
	a := authority(t, forge.AWSOptions{})
	v := verifier(t, a.Root())
	input := attestd.Input{
		Evidence: document(t, a, forge.Document{Nonce: nonce}), At: a.At(), Demand: fresh(t, nonce),
	}
	got := testing.AllocsPerRun(20, func() {
		if _, err := v.Verify(input); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%.0f allocations", got)
	if got > warmAllocations {
		t.Errorf("%.0f allocations for a verification with a known leaf, want at most %d", got, warmAllocations)
	}
}

// TestAHostileBundleCostsLessThanAnHonestDocument in what can be counted: signatures and memory.
func TestAHostileBundleCostsLessThanAnHonestDocument(t *testing.T) {
	a := authority(t, forge.AWSOptions{})
	v := verifier(t, a.Root())
	bundle := append(a.Bundle(), bytes.Split(bytes.Repeat([]byte("x,"), 96), []byte(","))[:96]...)
	hostile := attestd.Input{
		Evidence: document(t, a, forge.Document{Bundle: bundle}), At: a.At(), Demand: attestd.Recorded(),
	}
	got := testing.AllocsPerRun(20, func() {
		if _, err := v.Verify(hostile); err == nil {
			t.Fatal("accepted")
		}
	})
	// neg: 35
	if got > warmAllocations || v.SignaturesVerified() != 0 {
		t.Errorf("%.0f allocations and %d signatures for 100 certificates", got, v.SignaturesVerified())
	}
}

func BenchmarkVerifyWarm(b *testing.B) {
	a := authority(b, forge.AWSOptions{})
	v := verifier(b, a.Root())
	input := attestd.Input{
		Evidence: document(b, a, forge.Document{Nonce: nonce}), At: a.At(), Demand: fresh(b, nonce),
	}
	if _, err := v.Verify(input); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(input); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyCold(b *testing.B) {
	a := authority(b, forge.AWSOptions{})
	input := attestd.Input{
		Evidence: document(b, a, forge.Document{Nonce: nonce}), At: a.At(), Demand: fresh(b, nonce),
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := verifier(b, a.Root()).Verify(input); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHostileBundle(b *testing.B) {
	a := authority(b, forge.AWSOptions{})
	v := verifier(b, a.Root())
	bundle := append(a.Bundle(), bytes.Split(bytes.Repeat([]byte("x,"), 96), []byte(","))[:96]...)
	input := attestd.Input{
		Evidence: document(b, a, forge.Document{Bundle: bundle}), At: a.At(), Demand: attestd.Recorded(),
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(input); err == nil {
			b.Fatal("accepted")
		}
	}
}
