package nitro_test

import (
	"crypto/x509"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/nitro"
)

// TestLeavesPushNoAuthorityOut: however many leaves somebody shows, a new leaf below authorities
// that were seen costs two signatures, its own and its document's. Whoever may start enclaves could
// else make everybody else's documents dear.
func TestLeavesPushNoAuthorityOut(t *testing.T) {
	quiet, busy := authority(t, forge.AWSOptions{}), authority(t, forge.AWSOptions{})
	room := len(quiet.Bundle()) + len(busy.Bundle()) // every authority, and fewer than leaves
	v, err := nitro.New(nitro.Config{
		InsecureRoots: []*x509.Certificate{quiet.Root(), busy.Root()}, ChainCacheSize: room,
	})
	if err != nil {
		t.Fatal(err)
	}
	newLeaf := func(a *forge.AWS) uint64 {
		t.Helper()
		sibling, err := a.Sibling(forge.AWSOptions{})
		if err != nil {
			t.Fatal(err)
		}
		before := v.SignaturesVerified()
		if _, err := v.Verify(attestd.Input{
			Evidence: document(t, sibling, forge.Document{}), At: a.At(), Demand: attestd.Recorded(),
		}); err != nil {
			t.Fatal(err)
		}
		return v.SignaturesVerified() - before
	}
	if cold := newLeaf(quiet); cold <= 2 {
		t.Fatalf("the first leaf cost %d signatures: its authorities were known", cold)
	}
	newLeaf(busy)
	for range 3 * room {
		newLeaf(busy)
	}
	if made := newLeaf(quiet); made != 2 {
		t.Errorf("a new leaf below known authorities cost %d signatures, want 2", made)
	}
}
