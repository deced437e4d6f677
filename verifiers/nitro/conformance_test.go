package nitro_test

import (
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/nitro"
	"github.com/attestd/attestd/verifiers/verifiertest"
)

func TestConformanceOnPublishedDocuments(t *testing.T) {
	t.Parallel()
	verifiertest.Vectors(t, attestd.FormatNitro, func() verifiers.Verifier {
		verifier, err := nitro.New(nitro.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return verifier
	}, nil)
}
