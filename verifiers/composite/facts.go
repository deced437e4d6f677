package composite

import (
	"slices"

	"github.com/attestd/attestd"
)

// Names of facts.
const (
	factDevices     = "devices"
	factCombination = "combination"
	factWeakest     = "weakest_edge"
	factEdgeTPM     = "edge_vtpm"
	factKeyGrade    = "key_grade"
	factOwnership   = "ownership"
)

// factSpecs in the order in which people are shown them.
var factSpecs = []attestd.FactSpec{
	{Name: factDevices, Kind: attestd.KindUint, Spec: specShape, Meaning: "Devices whose evidence was verified."},
	{Name: factCombination, Kind: attestd.KindText, Spec: specShape,
		Meaning: "Formats of processor and TPM, as in sev-snp+tpm."},
	{Name: factWeakest, Kind: attestd.KindText, Spec: specEdges,
		Meaning: "Grade of the weakest edge: none, simultaneous, measured or cryptographic."},
	{Name: factEdgeTPM, Kind: attestd.KindText, Spec: specEdges,
		Meaning: "Grade of the edge from the processor to the TPM."},
	{Name: factKeyGrade, Kind: attestd.KindText, Spec: specEdges,
		Meaning: "The key that was demanded, as the TPM's evidence has it: resident, bound or none; " +
			"absent where the edge to the TPM is none, or its format grades no keys."},
	{Name: factOwnership, Kind: attestd.KindText, Spec: specEdges,
		Meaning: "What the TPM's evidence shows of whose machine it is; absent where the edge to it is " +
			"none, or it shows nothing."},
}

// Facts lists every fact that the Claims of the whole can have.
func (v *Verifier) Facts() []attestd.FactSpec { return slices.Clone(factSpecs) }
