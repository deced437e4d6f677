package azure_test

import (
	"crypto/x509"
	"slices"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers"
	"github.com/attestd/attestd/verifiers/azurevtpm"
	"github.com/attestd/attestd/verifiers/sevsnp"
	"github.com/attestd/attestd/verifiers/tdx"
	"github.com/attestd/attestd/verifiers/tpm"
)

// accept demands that the real verifier takes the evidence.
func accept(t *testing.T, evidence []byte) {
	t.Helper()
	guests, err := sevsnp.New(sevsnp.Config{InsecureRoots: []*x509.Certificate{made.amd.ARK}})
	if err != nil {
		t.Fatal(err)
	}
	domains, err := tdx.New(tdx.Config{InsecureRoots: []*x509.Certificate{made.intel.Root}})
	if err != nil {
		t.Fatal(err)
	}
	machines, err := tpm.New(tpm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	judge, err := azurevtpm.New(azurevtpm.Config{Parts: []verifiers.Verifier{guests, domains, machines}})
	if err != nil {
		t.Fatal(err)
	}
	demand, err := attestd.Fresh(freshness())
	if err != nil {
		t.Fatal(err)
	}
	claims, err := judge.Verify(attestd.Input{Evidence: evidence, At: forge.AMDTime, Demand: demand})
	if err != nil {
		t.Error(err)
		return
	}
	edges := slices.Collect(claims.Edges())
	if len(edges) != 1 || edges[0].Grade != attestd.GradeCryptographic {
		t.Errorf("edges %+v", edges)
	}
}
