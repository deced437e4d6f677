package revocation_test

import "testing"

// TestCopiesAreSeenAcrossTheStore: what tells a machine from its copy outlives the process.
func TestCopiesAreSeenAcrossTheStore(t *testing.T) {
	w := newWorld(t, nil)
	w.attest(w.seen("alpha1", "blue", 1))
	w.attest(w.seen("alpha1", "blue", 2))
	w.restart()
	w.automatic(w.attest(w.seen("alpha1", "blue", 1)).Grounds)
	w.wantGrant("alpha1", false)
}
