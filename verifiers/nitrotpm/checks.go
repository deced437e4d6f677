package nitrotpm

import (
	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/awsdoc"
)

const contents = "Amazon EC2 User Guide, NitroTPM Attestation Document contents"

// shape: policies name the boot manager, Secure Boot's policy and the command line.
var shape = awsdoc.Shape{Named: []int{4, 7, 12}}

func checkSpecs() []attestd.CheckSpec {
	register := func(id attestd.CheckID, fact, proves, why, hint string) attestd.CheckSpec {
		return attestd.CheckSpec{
			ID: id, Proves: proves, Why: why, Spec: contents, Hint: hint,
			Class: attestd.ClassMeasurement, Group: attestd.GroupMeasurement,
			Stage: attestd.StageAppraise, Rule: attestd.RuleDigest, Fact: fact,
		}
	}
	const compute = "compare with what nitro-tpm-pcr-compute printed for the image: " +
		"attestd inspect --format nitrotpm FILE"
	return append(awsdoc.VerifyChecks(attestd.FormatNitroTPM),
		register("nitrotpm/pcr4-boot", "pcr4",
			"the boot manager and what it loaded are wanted ones (register 4)",
			"any kernel on any instance would carry AWS's signature", compute),
		register("nitrotpm/pcr7-secure-boot", "pcr7",
			"Secure Boot was set up in one of the wanted ways (register 7)",
			"with Secure Boot off, or keys of somebody else's, any boot manager starts", compute),
		register("nitrotpm/pcr12-command-line", "pcr12",
			"the kernel command line is a wanted one (register 12)",
			"a command line can turn off what the image measured well", compute),
		attestd.CheckSpec{
			ID:     "nitrotpm/region",
			Proves: "the instance runs in one of the wanted AWS regions",
			Why:    "data that must stay in a country would be given to an instance elsewhere",
			Spec:   "none: the leaf's common name ends in region and partition in published enclave documents",
			Hint:   "see the region: attestd inspect --format nitrotpm FILE, field certificate",
			Class:  attestd.ClassPlatform,
			Group:  attestd.GroupPlatform,
			Stage:  attestd.StageAppraise,
			Rule:   attestd.RuleOneOf,
			Fact:   "region",
		},
		awsdoc.RevocationRule(attestd.FormatNitroTPM),
	)
}

// Facts lists every fact that Claims can have.
func (v *Verifier) Facts() []attestd.FactSpec {
	return awsdoc.FactSpecs(awsdoc.NitroTPMGuide, map[int]string{
		4:  "boot manager code; not visible where absent or all zero",
		7:  "Secure Boot policy; not visible where absent or all zero",
		12: "kernel command line of a unified kernel image; not visible where absent or all zero",
	})
}
