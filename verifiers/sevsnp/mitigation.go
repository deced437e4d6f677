package sevsnp

import "github.com/attestd/attestd"

// mitigation is a published fix that shows in the levels of a TCB. The claim made of it has three
// values: true is proven by REPORTED_TCB, from which the signing key was derived; false is proven
// absent; not visible is where the bulletin's level for the product is not known here, or where the
// report does not name the product. No rule but `any` takes the third for the first.
//
// The bits of the mitigation vectors of report version 5 would say the same more directly. AMD
// 56860 rev 1.58 leaves their meaning to the bulletins, and none that gives one is known here: they
// stay numbers (launch_mit_vector, current_mit_vector), to be named by a policy.
type mitigation struct {
	fact string
	// least are the levels at which the product is mended.
	least map[model]mended
}

// mended are the least levels; a microcode level is the last byte of the revision, which every
// product counts for itself.
type mended struct{ snp, microcode uint8 }

// mitigations are in the order of their facts.
var mitigations = []mitigation{
	{
		// AMD-SB-3019. The levels of Turin's microcode are those of AMD-SB-7033, the same hole seen from
		// outside of a guest: 0x0B002147 and 0x0B101047.
		fact: "mit_entrysign",
		least: map[model]mended{
			modelMilan: {0x18, 0xdb}, modelMilanX: {0x18, 0x44}, modelGenoa: {0x17, 0x54},
			modelGenoaX: {0x17, 0x4f}, modelBergamo: {0x17, 0x19},
			modelTurin: {0, 0x47}, modelTurinDense: {0, 0x47},
		},
	},
	{
		fact: "mit_rmpocalypse", // AMD-SB-3020
		least: map[model]mended{
			modelGenoa: {0x1b, 0x56}, modelGenoaX: {0x1b, 0x51}, modelTurin: {0x04, 0x50},
		},
	},
	{
		fact: "mit_stackwarp", // AMD-SB-3027
		least: map[model]mended{
			modelGenoa: {0, 0x56}, modelGenoaX: {0, 0x51}, modelTurin: {0, 0x51},
		},
	},
}

// shown is the claim for a product at these levels. The product of a report without CPUID is only its
// line: its levels could be those of another product of the line, so that nothing is proven by them.
func (m mitigation) shown(of model, reported tcb) attestd.Value {
	least, known := m.least[of]
	if !known {
		return attestd.NotVisible()
	}
	return attestd.Bool(reported.snp >= least.snp && reported.microcode >= least.microcode)
}
