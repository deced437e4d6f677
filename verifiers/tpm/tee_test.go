package tpm_test

import (
	"crypto/sha256"
	"testing"

	"github.com/attestd/attestd"
)

// TestAKeyThatATEEStates: a TEE's verified report vouches for a key and for what protects it; for another
// key it says nothing.
func TestAKeyThatATEEStates(t *testing.T) {
	t.Parallel()
	s := newScene(t, "RSASSA", "")
	s.machine.EK = nil
	input := s.build()
	if _, err := newVerifier(t).Verify(input); err == nil {
		t.Fatal("a key that nobody vouches for was accepted")
	}
	key := sha256.Sum256(der(t, s.world.keys["RSASSA"]))
	other := key
	other[0] ^= 1
	input.Anchors = attestd.Anchors{TEEKeys: [][32]byte{other}}
	if _, err := newVerifier(t).Verify(input); err == nil {
		t.Fatal("a key that a TEE states vouched for another one")
	}
	input.Anchors.TEEKeys = append(input.Anchors.TEEKeys, key)
	claims, err := newVerifier(t).Verify(input)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"ak_residency": "tee", "protection": "tee", "ek_trust": "none"} {
		if got, _ := claims.Fact(name); got.String() != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for handle := range claims.Handles() {
		t.Errorf("handle %v: the TEE's verifier names the machine", handle)
	}
}
