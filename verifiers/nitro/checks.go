package nitro

import (
	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/awsdoc"
)

const checkMeasurements attestd.CheckID = "nitro/measurements"

const (
	nsm      = "AWS nitro-enclaves-nsm-api docs/attestation_process.md (13464bf) section 2.2"
	pcrGuide = "AWS Nitro Enclaves User Guide, Where to get an enclave's measurements"
)

// shape: policies name role, instance and signer; the three measurements are shown even when zero,
// since that is what makes a debug enclave.
var shape = awsdoc.Shape{Named: []int{3, 4, 8}, Shown: []int{0, 1, 2}}

func checkSpecs() []attestd.CheckSpec {
	return append(awsdoc.VerifyChecks(attestd.FormatNitro),
		attestd.CheckSpec{
			ID:     checkMeasurements,
			Proves: "registers 0, 1 and 2 are in the document",
			Why:    "a document without measurements would match any policy that compares those it finds",
			Spec:   nsm + "; " + pcrGuide,
			Hint:   "see which registers there are: attestd inspect --format nitro FILE",
			Class:  attestd.ClassMeasurement,
			Group:  attestd.GroupMeasurement,
			Stage:  attestd.StageVerify,
		},
		attestd.CheckSpec{
			ID:     "nitro/debug",
			Proves: "the enclave was started without debug mode: none of registers 0, 1 and 2 is all zero",
			Why:    "the parent reads a debug enclave's console, and its zero registers say nothing about it",
			Spec:   "AWS Nitro Enclaves User Guide, Cryptographic attestation",
			Hint:   "start the enclave without --debug-mode (nitro-cli run-enclave)",
			Class:  attestd.ClassDebug,
			Group:  attestd.GroupDebug,
			Stage:  attestd.StageAppraise,
			Rule:   attestd.RuleFlag,
			Fact:   "debug",
		},
		attestd.CheckSpec{
			ID:     "nitro/pcr3-role",
			Proves: "the parent instance has one of the wanted IAM roles (register 3)",
			Why:    "anybody can run a published image on an instance of their own",
			Spec:   pcrGuide,
			Hint:   "attach the role before the start; compare with the SHA-384 of 48 zero bytes and its ARN",
			Class:  attestd.ClassMeasurement,
			Group:  attestd.GroupIdentity,
			Stage:  attestd.StageAppraise,
			Rule:   attestd.RuleDigest,
			Fact:   "pcr3",
		},
		attestd.CheckSpec{
			ID:     "nitro/pcr4-instance",
			Proves: "the parent instance is one of the wanted ones (register 4)",
			Why:    "anybody can run a published image on an instance of their own",
			Spec:   pcrGuide,
			Hint:   "compare with the SHA-384 of 48 zero bytes and the instance id",
			Class:  attestd.ClassMeasurement,
			Group:  attestd.GroupIdentity,
			Stage:  attestd.StageAppraise,
			Rule:   attestd.RuleDigest,
			Fact:   "pcr4",
		},
		attestd.CheckSpec{
			ID:     "nitro/pcr8-signer",
			Proves: "the image was signed by one of the wanted certificates (register 8)",
			Why:    "an image of somebody else's would pass where a policy goes by the signer alone",
			Spec:   pcrGuide,
			Hint:   "build the image with nitro-cli build-enclave --signing-certificate and --private-key",
			Class:  attestd.ClassMeasurement,
			Group:  attestd.GroupMeasurement,
			Stage:  attestd.StageAppraise,
			Rule:   attestd.RuleDigest,
			Fact:   "pcr8",
		},
		attestd.CheckSpec{
			ID:     "nitro/region",
			Proves: "the enclave runs in one of the wanted AWS regions",
			Why:    "data that must stay in a country would be given to an enclave elsewhere",
			Spec:   "none: the leaf's common name ends in region and partition in every published document",
			Hint:   "see the region: attestd inspect --format nitro FILE, field certificate",
			Class:  attestd.ClassPlatform,
			Group:  attestd.GroupPlatform,
			Stage:  attestd.StageAppraise,
			Rule:   attestd.RuleOneOf,
			Fact:   "region",
		},
		awsdoc.RevocationRule(attestd.FormatNitro),
	)
}

// Facts lists every fact that Claims can have.
func (v *Verifier) Facts() []attestd.FactSpec {
	return append([]attestd.FactSpec{{
		Name: "debug", Kind: attestd.KindBool,
		Meaning: "whether register 0, 1 or 2 is all zero, as in an enclave started in debug mode",
		Spec:    "AWS Nitro Enclaves User Guide, Cryptographic attestation",
	}}, awsdoc.FactSpecs(nsm+"; "+pcrGuide, map[int]string{
		0: "the enclave image",
		1: "kernel and boot ramdisk",
		2: "the application, without the boot ramdisk",
		3: "the parent instance's IAM role; not visible where absent or all zero",
		4: "the parent instance's id; not visible where absent or all zero",
		8: "the certificate that signed the image; not visible where absent or all zero",
	})...)
}
