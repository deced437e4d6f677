package pcs_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// TestConvergenceIsTheWholeTable compares every combination of platform, module and quoting enclave with
// the table that is kept in testdata. neg: 125
func TestConvergenceIsTheWholeTable(t *testing.T) {
	var table strings.Builder
	table.WriteString("# platform, TDX module, quoting enclave: status of the whole\n")
	for _, platform := range pcs.Statuses() {
		for _, module := range pcs.Statuses() {
			for _, enclave := range pcs.Statuses() {
				fmt.Fprintf(&table, "%s, %s, %s: %s\n", platform, module, enclave,
					pcs.Converge(platform, module, enclave))
			}
		}
	}
	const golden = "testdata/convergence.txt"
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != table.String() {
		lines := strings.Split(string(want), "\n")
		for i, line := range strings.Split(table.String(), "\n") {
			if i >= len(lines) || lines[i] != line {
				t.Fatalf("line %d of %s (%v): got %q", i+1, golden, err, line)
			}
		}
		t.Fatalf("%s has more lines", golden)
	}
}

// reference is Intel's own way for the statuses that it has for modules and enclaves (SGX and TDX DCAP
// Quote Verification Library, convergeTcbStatusWithTdxModuleStatus and ...WithQeTcbStatus), written down
// from its rules and not from ours.
func reference(level pcs.Status, part pcs.Status) pcs.Status {
	switch part {
	case pcs.OutOfDate:
		switch level {
		case pcs.UpToDate, pcs.SWHardeningNeeded:
			return pcs.OutOfDate
		case pcs.ConfigurationNeeded, pcs.ConfigurationAndSWHardeningNeeded:
			return pcs.OutOfDateConfigurationNeeded
		}
	case pcs.Revoked:
		return pcs.Revoked
	}
	return level
}

// TestConvergenceIsIntels: 7 statuses of the platform, 3 of the module, 3 of the enclave.
func TestConvergenceIsIntels(t *testing.T) {
	three := []pcs.Status{pcs.UpToDate, pcs.OutOfDate, pcs.Revoked}
	for _, platform := range pcs.Statuses() {
		for _, module := range three {
			for _, enclave := range three {
				want := reference(reference(platform, module), enclave)
				if got := pcs.Converge(platform, module, enclave); got != want {
					t.Errorf("%s, %s, %s: got %s, want %s", platform, module, enclave, got, want)
				}
			}
		}
	}
}

// TestConvergenceOnlyGetsWorse: Revoked wins, order does not matter, and nothing is forgotten.
func TestConvergenceOnlyGetsWorse(t *testing.T) {
	all := pcs.Statuses()
	for _, a := range all {
		if pcs.Converge(a) != a || pcs.Converge(a, a) != a || pcs.Converge(a, pcs.UpToDate) != a ||
			pcs.Converge(a, pcs.Revoked) != pcs.Revoked {
			t.Errorf("%s does not stay what it is", a)
		}
		for _, b := range all {
			got := pcs.Converge(a, b)
			if got != pcs.Converge(b, a) || slices.Index(all, got) < max(slices.Index(all, a), slices.Index(all, b)) {
				t.Errorf("%s and %s: %s", a, b, got)
			}
			if (a.IsOutOfDate() || b.IsOutOfDate()) != got.IsOutOfDate() {
				t.Errorf("%s and %s: %s forgets an update", a, b, got)
			}
			if got != pcs.Revoked && (a.NeedsConfiguration() || b.NeedsConfiguration()) != got.NeedsConfiguration() {
				t.Errorf("%s and %s: %s forgets a configuration", a, b, got)
			}
			if !got.IsOutOfDate() && (a.NeedsSWHardening() || b.NeedsSWHardening()) != got.NeedsSWHardening() {
				t.Errorf("%s and %s: %s forgets hardening", a, b, got)
			}
		}
		if pcs.Converge(a, pcs.StatusNone) != pcs.StatusNone || pcs.Converge(a, pcs.Status(99)) != pcs.StatusNone {
			t.Errorf("%s makes something of nothing", a)
		}
	}
	if pcs.Converge() != pcs.StatusNone || !pcs.StatusNone.IsOutOfDate() || pcs.StatusNone.String() != "" {
		t.Error("nothing is a status")
	}
}
