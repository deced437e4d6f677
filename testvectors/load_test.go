package testvectors_test

import (
	"testing"

	"github.com/attestd/attestd/testvectors"
)

// corpus loads what this machine has and prints how much that is.
func corpus(tb testing.TB) *testvectors.Corpus {
	tb.Helper()
	loaded, err := testvectors.Load(testvectors.FromEnvironment())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Log(loaded.Report())
	return loaded
}

func TestTheManifestLoads(t *testing.T) { corpus(t) }
