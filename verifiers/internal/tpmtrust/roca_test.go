package tpmtrust_test

import (
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"testing"

	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
)

func modulus(bits int) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1)) //nolint:gosec // positive
	return n.Add(n, big.NewInt(1))
}

// TestFaultyKeysAreRecognized makes keys as Infineon's library made them, and as others do. neg: 78
func TestFaultyKeysAreRecognized(t *testing.T) {
	weak := must(forge.WeakRSAKey())(t).N
	if !tpmtrust.WeakModulus(weak) {
		t.Error("a modulus of the library's form is not recognized")
	}
	for range 4 {
		if key := must(rsa.GenerateKey(rand.Reader, 2048))(t); tpmtrust.WeakModulus(key.N) {
			t.Errorf("%x", key.N)
		}
	}
	for _, n := range []*big.Int{big.NewInt(0), new(big.Int).Neg(weak), modulus(2048)} {
		_ = tpmtrust.WeakModulus(n) // ends, whatever comes
	}
	ca := authority(t, forge.TPMCAConfig{})
	raw := must(ca.EKCertificate(&rsa.PublicKey{N: weak, E: 65537}, forge.EKCertificateConfig{
		Manufacturer: "id:49465800",
	}))(t)
	ek, fault := trusting(t, ca.Root).Endorsement(tpmtrust.EKQuery{
		Certificate: raw, Intermediates: ca.Bundle(), At: forge.TPMTime,
	})
	if fault != nil || !ek.Vulnerable || ek.Manufacturer != "IFX" {
		t.Errorf("%+v, %v", ek, fault)
	}
	// No pinned root has such a key, and no certificate of the others either.
	for _, certificate := range append(must(tpmtrust.PinnedRoots())(t), must(tpmtrust.Intermediates())(t)...) {
		if key, ok := certificate.PublicKey.(*rsa.PublicKey); ok && tpmtrust.WeakModulus(key.N) {
			t.Errorf("%s can be computed from its public key", certificate.Subject)
		}
	}
}
