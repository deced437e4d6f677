package tdx

import "testing"

// WithBudget lets a verification make so many public-key verifications for the quote, and for each
// root that is known so many for documents and lists, until the test ends. No test that uses it may
// run beside others.
func WithBudget(t testing.TB, quote, collateral int) {
	t.Helper()
	quoteBefore, collateralBefore := limits.signatures, collateralLimits.signatures
	limits.signatures, collateralLimits.signatures = quote, collateral
	t.Cleanup(func() {
		limits.signatures, collateralLimits.signatures = quoteBefore, collateralBefore
	})
}

// WithPlatformCA compiles in other bytes for the CA over platforms until the test ends. No test that
// uses it may run beside others.
func WithPlatformCA(t testing.TB, edit func([]byte) []byte) {
	t.Helper()
	before := platformCA
	platformCA = edit(append([]byte(nil), before...))
	t.Cleanup(func() { platformCA = before })
}
