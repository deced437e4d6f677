package sevsnp_test

import "testing"

// TestWarmVerificationAllocatesLittle gates what a known VCEK costs. About half of it is
// crypto/ecdsa's, so that the bar leaves room for other versions of Go.
func TestWarmVerificationAllocatesLittle(t *testing.T) {
	v, input := newVerifier(t), sample(t)
	mustVerify(t, v, input)
	if got := testing.AllocsPerRun(20, func() { mustVerify(t, v, input) }); got > 60 {
		t.Errorf("%.0f allocations, want at most 60", got)
	}
}
