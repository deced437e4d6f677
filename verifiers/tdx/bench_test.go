package tdx_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tdx"
)

// collected is a quote of version 5 with all of Intel's documents and lists beside it, all fresh.
func collected(t testing.TB) attestd.Input {
	t.Helper()
	s := newScene(t, 5)
	input := s.input(t)
	given := must(s.authority.Collateral(forge.NewTCBInfoConfig(), forge.NewIdentityConfig()))(t)
	input.Endorsements = attestd.Endorsements{
		Certificates: given.Certificates, CRLs: given.CRLs, Documents: given.Documents,
	}
	return input
}

// TestWarmVerificationAllocatesLittle gates what a known machine costs with all its collateral: one
// signature, and little beside it.
func TestWarmVerificationAllocatesLittle(t *testing.T) {
	v, input := forgedVerifier(t), collected(t)
	claims := mustVerify(t, v, input)
	if got := factOf(t, claims, "collateral") + " " + factOf(t, claims, "crl"); got != "fresh fresh" {
		t.Fatalf("collateral and lists are %s", got)
	}
	before := v.SignaturesVerified()
	mustVerify(t, v, input)
	if got := v.SignaturesVerified() - before; got != 1 {
		t.Errorf("%d signatures, want 1", got)
	}
	if got := testing.AllocsPerRun(20, func() { mustVerify(t, v, input) }); got > 90 {
		t.Errorf("%.0f allocations, want at most 90", got)
	}
}

// TestAColdVerificationCostsFewSignatures counts those of a quote and all its collateral when nothing
// was seen before. Below Intel's own root they are eight: PCK, enclave, quote; TCB signing key, TCB
// information, identity; two lists. Below the tests' there is the CA over the PCK, which is not the one
// that is pinned.
func TestAColdVerificationCostsFewSignatures(t *testing.T) {
	spent := func(v *tdx.Verifier, input attestd.Input) uint64 {
		before := v.SignaturesVerified()
		mustVerify(t, v, input)
		return v.SignaturesVerified() - before
	}
	if got := spent(forgedVerifier(t), collected(t)); got != 9 {
		t.Errorf("forged: %d signatures, want 9", got)
	}
	corpus := must(testvectors.Load(testvectors.FromEnvironment()))(t)
	for _, vector := range corpus.Format(attestd.FormatTDX) {
		v := newVerifier(t)
		input := attestd.Input{Evidence: vector.Evidence, Endorsements: vector.Endorsements,
			At: vector.At, Demand: attestd.Recorded()}
		if _, err := v.Verify(input); err != nil {
			continue
		}
		if got := spent(newVerifier(t), input); got > 8 {
			t.Errorf("%s: %d signatures, want at most 8", vector.Name, got)
		}
		if got := spent(v, input); got != 1 {
			t.Errorf("%s: %d signatures for a second look, want 1", vector.Name, got)
		}
	}
	t.Log(corpus.Report())
}

func BenchmarkVerifyWarm(b *testing.B) {
	v, input := forgedVerifier(b), collected(b)
	mustVerify(b, v, input)
	b.ReportAllocs()
	for b.Loop() {
		mustVerify(b, v, input)
	}
}

func BenchmarkVerifyCold(b *testing.B) {
	input, root := collected(b), must(intel())(b).Root
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		v := newVerifier(b, root)
		b.StartTimer()
		mustVerify(b, v, input)
	}
}

// BenchmarkOneP256 is the verification that every quote costs.
func BenchmarkOneP256(b *testing.B) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(b)
	digest := sha256.Sum256([]byte("quote"))
	signature := must(ecdsa.SignASN1(rand.Reader, key, digest[:]))(b)
	for b.Loop() {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
			b.Fatal("not verified")
		}
	}
}
