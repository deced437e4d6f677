package sevsnp_test

import "testing"

// TestWarmVerificationAllocatesLittle gates what a known VCEK costs. More than half of it is the
// arithmetic of one signature.
func TestWarmVerificationAllocatesLittle(t *testing.T) {
	v, input := newVerifier(t), sample(t)
	mustVerify(t, v, input)
	if got := testing.AllocsPerRun(20, func() { mustVerify(t, v, input) }); got > 80 {
		t.Errorf("%.0f allocations, want at most 80", got)
	}
}
