package all_test

import (
	"errors"
	"testing"

	"github.com/google/go-sev-guest/verify/trust"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/all"
)

// TestADamagedBuildHasNoVerifiersAndNoRoots takes away the bytes of one vendor's roots, as damage or
// any package in the process could. It does not run beside other tests.
func TestADamagedBuildHasNoVerifiersAndNoRoots(t *testing.T) {
	own := trust.AskArkTurinVcekBytes
	defer func() { trust.AskArkTurinVcekBytes = own }()
	trust.AskArkTurinVcekBytes = nil
	_, noVerifiers := all.New(all.Config{})
	roots, noRoots := all.Roots()
	issuers, noIssuers := all.Issuers()
	if roots != nil || issuers != nil {
		t.Error("got some beside an error")
	}
	for _, err := range []error{noVerifiers, noRoots, noIssuers} {
		var caller *attestd.CallerError
		if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig || caller.Hint == "" {
			t.Errorf("got %v, want a CONFIG error", err)
		}
	}
}
