package faults_test

import (
	"bytes"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
)

// cell is one way in which one layer fails.
type cell struct {
	layer, fault string
	// name says what must be true of it.
	name string
	// alone is for faults of the whole process.
	alone bool
	run   func(w *world)
}

var (
	layers = []string{"store", "nonce", "policy", "collateral", "audit", "clock", "signer"}
	faults = []string{"error", "timeout", "slow", "corrupt", "partial", "flap"}
)

func matrix() []cell {
	var all []cell
	for _, cells := range [][]cell{
		storeCells, nonceCells, policyCells, collateralCells, auditCells, clockCells, signerCells,
	} {
		all = append(all, cells...)
	}
	return all
}

func TestEveryLayerFailsInEveryWayExactlyOnce(t *testing.T) {
	found := map[string]int{}
	for _, one := range matrix() {
		found[one.layer+" x "+one.fault]++
	}
	for _, layer := range layers {
		for _, fault := range faults {
			if n := found[layer+" x "+fault]; n != 1 {
				t.Errorf("%s x %s is there %d times", layer, fault, n)
			}
			delete(found, layer+" x "+fault)
		}
	}
	if len(found) != 0 {
		t.Errorf("in no row or column: %v", found)
	}
}

// cellOf names, for a process of its own, the cell that it runs.
const cellOf = "ATTESTD_FAULT_CELL"

// neg: 179
func TestFaultMatrix(t *testing.T) {
	var closed atomic.Int32
	t.Run("cells", func(t *testing.T) {
		for _, one := range matrix() {
			t.Run(one.layer+" x "+one.fault+": "+one.name, func(t *testing.T) {
				t.Parallel()
				if one.alone {
					inItsOwnProcess(t, one)
				} else {
					one.run(newWorld(t))
				}
				if !t.Failed() {
					closed.Add(1)
				}
			})
		}
	})
	t.Logf("fault matrix: %d of %d cells closed", closed.Load(), len(layers)*len(faults))
}

// inItsOwnProcess runs a cell whose fault is one of the whole process.
func inItsOwnProcess(t *testing.T, one cell) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self, "-test.run", "^TestOneCell$", "-test.v")
	child.Env = append(os.Environ(), cellOf+"="+one.layer+" x "+one.fault)
	out, err := child.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestOneCell")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestOneCell is the process of a cell.
func TestOneCell(t *testing.T) {
	name := os.Getenv(cellOf)
	for _, one := range matrix() {
		if one.layer+" x "+one.fault == name {
			one.run(newWorld(t))
		}
	}
}
