package composite

import (
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// Documents that the checks cite.
const (
	specOurs   = "attestd, docs/verifiers/composite.md, limits"
	specShape  = "attestd, docs/verifiers/composite.md, devices"
	specDerive = "attestd, docs/verifiers/composite.md, one nonce"
	specEdges  = "attestd, docs/verifiers/composite.md, edges"
)

// The checks of a verification, in the order in which they run. Those of the devices run between the
// fourth and the last.
const (
	checkSize     attestd.CheckID = "composite/size"
	checkEncoding attestd.CheckID = "composite/encoding"
	checkKnown    attestd.CheckID = "composite/devices-known"
	checkComplete attestd.CheckID = "composite/devices-complete"
	checkBound    attestd.CheckID = "composite/devices-bound"
)

var specs = slices.Concat(verifyChecks, appraiseChecks)

var table = trail.NewTable(specs)

// Checks lists the checks of the composition itself; those of the devices are their verifiers'.
func (v *Verifier) Checks() []attestd.CheckSpec { return slices.Clone(specs) }

func verified(
	id attestd.CheckID, class attestd.Class, spec, proves, why, hint string,
) attestd.CheckSpec {
	return attestd.CheckSpec{ID: id, Proves: proves, Why: why, Spec: spec, Hint: hint, Class: class,
		Group: attestd.GroupAuthenticity}
}

var verifyChecks = []attestd.CheckSpec{
	verified(checkSize, attestd.ClassTooLarge, specOurs,
		"the evidence is no larger than what real machines send",
		"a sender could make one verification cost as much as thousands",
		"send less of the logs: attestd evidence composite; see attestd inspect FILE"),
	verified(checkEncoding, attestd.ClassMalformed, specOurs,
		"the evidence is the one encoding of its devices, each under a path of its own",
		"two readers could find different devices in the same bytes",
		"make the evidence with attestd evidence composite; see attestd inspect FILE"),
	verified(checkKnown, attestd.ClassUnsupported, specShape,
		"every device is one that a machine has, and its evidence is of a format for such a device",
		"a device that nobody judges would seem judged, and a TPM could stand where a processor must",
		"send the processor as cpu and the TPM as vtpm, and nothing else"),
	verified(checkComplete, attestd.ClassMalformed, specShape,
		"no device that a machine must have is missing",
		"the evidence of one device would be taken for that of a machine",
		"send both; evidence of one device is verified as its own format: attestd verify --format FORMAT"),
	verified(checkBound, attestd.ClassBinding, specDerive,
		"every device answered the value that was derived for it from what was demanded",
		"the evidence of one device that answered nothing could be put beside another's that did",
		"collect all devices' evidence for one challenge: attestd evidence composite"),
}

var appraiseChecks = []attestd.CheckSpec{
	{
		ID:     "composite/edge",
		Proves: "the weakest tie between the processor and another device is as strong as the policy wants",
		Why:    "the TPM of one machine would speak for the processor of another",
		Spec:   specEdges,
		Hint:   "answer a challenge: evidence that is only recorded ties nothing",
		Class:  attestd.ClassBinding, Group: attestd.GroupAuthenticity,
		Stage: attestd.StageAppraise, Rule: attestd.RuleOneOf, Fact: factWeakest,
		Values: []string{
			attestd.GradeSimultaneous.String(), attestd.GradeMeasured.String(),
			attestd.GradeCryptographic.String(),
		},
	},
	{
		ID:     "composite/devices",
		Proves: "the machine is of one of the wanted combinations of processor and TPM",
		Why:    "a combination that nobody planned for would be judged by rules that were not meant for it",
		Spec:   specShape,
		Hint:   "name the combination in the policy, or send the evidence of another TPM",
		Class:  attestd.ClassPlatform, Group: attestd.GroupPlatform,
		Stage: attestd.StageAppraise, Rule: attestd.RuleOneOf, Fact: factCombination,
		Values: combinations(),
	},
}
