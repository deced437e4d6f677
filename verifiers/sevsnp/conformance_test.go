package sevsnp_test

import (
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/sevsnp"
	"github.com/attestd/attestd/verifiers/verifiertest"
)

// neg: 91, 95
func TestConformance(t *testing.T) {
	build := func() verifiers.Verifier {
		v, err := sevsnp.New(sevsnp.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	verifiertest.Vectors(t, attestd.FormatSEVSNP, build, nil)
}
