package azurevtpm

import (
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// Documents that the checks cite.
const (
	specOurs     = "attestd, docs/verifiers/azure-vtpm.md, limits"
	specShape    = "attestd, docs/verifiers/azure-vtpm.md, parts"
	specHCL      = "Microsoft, OpenHCL: openhcl_attestation_protocol, igvm_attest::get"
	specRuntime  = "Microsoft, Azure confidential VMs: guest attestation, runtime data"
	specSNP      = "AMD 56860 1.58, section 7.3 (MSG_REPORT_REQ) and 15.26 (VMPLs)"
	specTDReport = "Intel TDX Module 1.5 ABI, TDREPORT_STRUCT"
	specQuote    = "TPM 2.0 Library 01.59, Part 3, section 18.4 (TPM2_Quote)"
	specJWK      = "RFC 7517, section 4; RFC 7518, section 6.3.1"
)

// The checks of a verification, in the order in which they run. Those of the CPU run behind
// azure-vtpm/runtime-claims, those of the TPM before azure-vtpm/quoted.
const (
	checkSize      attestd.CheckID = "azure-vtpm/size"
	checkEncoding  attestd.CheckID = "azure-vtpm/encoding"
	checkHCLHeader attestd.CheckID = "azure-vtpm/hcl-header"
	checkHCLData   attestd.CheckID = "azure-vtpm/runtime-data"
	checkHCLType   attestd.CheckID = "azure-vtpm/report-type"
	checkParts     attestd.CheckID = "azure-vtpm/parts"
	checkClaims    attestd.CheckID = "azure-vtpm/runtime-claims"
	checkLevel     attestd.CheckID = "azure-vtpm/paravisor-level"
	checkTD        attestd.CheckID = "azure-vtpm/td-report"
	checkHash      attestd.CheckID = "azure-vtpm/runtime-hash"
	checkKey       attestd.CheckID = "azure-vtpm/attestation-key"
	checkQuoted    attestd.CheckID = "azure-vtpm/quoted"
)

const (
	wantSize     = "parts within the limits"
	wantEncoding = "the one encoding of its parts"
	wantHeader   = "a header as the paravisor writes it"
	wantData     = "runtime claims under SHA-256, in their full length"
	wantClaims   = "one JSON document with one key " + keyAttestation
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
		"the evidence, and each part of it, is no larger than what Azure's machines send",
		"a sender could make one verification cost as much as thousands",
		"send less of the logs: attestd evidence azure; see attestd inspect FILE"),
	verified(checkEncoding, attestd.ClassMalformed, specOurs,
		"the evidence is the one encoding of its parts",
		"two readers could find different parts in the same bytes",
		"make the evidence with attestd evidence azure; see attestd inspect FILE"),
	verified(checkHCLHeader, attestd.ClassMalformed, specHCL,
		"the HCL report has a header of version 1 or 2, ends where it says, and is the one that the "+
			"paravisor keeps for its attestation key",
		"nobody signs these bytes: a reader that let them be anything would take one report for many",
		"send NV index 0x01400001 up to the size in its header: attestd evidence azure"),
	verified(checkHCLData, attestd.ClassMalformed, specHCL,
		"the header of the runtime claims states their length and SHA-256, in a version known here",
		"the hash could be over other bytes than those that are read",
		"send NV index 0x01400001 unchanged; a newer version needs a newer attestd"),
	verified(checkHCLType, attestd.ClassUnsupported, specHCL,
		"the CPU's report inside is one of SEV-SNP or TDX",
		"a Trusted Launch VM, whose TPM is its host's software, would pass as a confidential one",
		"send the quote of a Trusted Launch VM as plain TPM evidence: attestd evidence tpm"),
	verified(checkParts, attestd.ClassMalformed, specShape,
		"the parts are those that belong to the CPU's report, and no others",
		"a TDREPORT, which only its own machine can check, would be taken for a quote",
		"on TDX send the quote that http://169.254.169.254/acc/tdquote makes: attestd evidence azure"),
	verified(checkClaims, attestd.ClassMalformed, specJWK,
		"the runtime claims are one JSON document, no member twice, with one attestation key of RSA",
		"two readers could find two keys in one document",
		"send NV index 0x01400001 unchanged"),
	verified(checkLevel, attestd.ClassPlatform, specSNP,
		"the report was asked for at VMPL 0, where the paravisor is and the guest is not",
		"the guest's kernel would ask for a report over claims of its own",
		"send the report of NV index 0x01400001, not one of /dev/sev-guest"),
	verified(checkTD, attestd.ClassBinding, specTDReport,
		"the TDREPORT of the HCL report says in every field what the TD quote says",
		"a quote of one trust domain would stand beside the claims of another",
		"have the quote made of this very TDREPORT: attestd evidence azure"),
	verified(checkHash, attestd.ClassBinding, specRuntime,
		"REPORTDATA is the SHA-256 of the runtime claims, and zeros behind it",
		"claims beside a genuine report could name anybody's key",
		"send NV index 0x01400001 unchanged; read it again where user data was written just before"),
	verified(checkKey, attestd.ClassBinding, specRuntime,
		"the quote is by the attestation key that the runtime claims state",
		"a TPM of another machine would speak for this one",
		"quote with the key at handle 0x81000003: attestd evidence azure"),
	verified(checkQuoted, attestd.ClassBinding, specQuote,
		"the TPM's quote answers what was demanded of the whole",
		"an old quote would be fresh beside a report that is as old as the boot",
		"collect the evidence for the challenge: attestd evidence azure --challenge FILE"),
}

func appraised(
	name string, rule attestd.Rule, fact string, class attestd.Class, group attestd.Group,
	spec, proves, why, hint string, values ...string,
) attestd.CheckSpec {
	return attestd.CheckSpec{
		ID: attestd.CheckID("azure-vtpm/" + name), Proves: proves, Why: why, Spec: spec, Hint: hint,
		Class: class, Group: group, Stage: attestd.StageAppraise, Rule: rule, Fact: fact, Values: values,
	}
}

// flag is a check of a member of vm-configuration.
func flag(name, fact, proves, why, hint string) attestd.CheckSpec {
	return appraised(name, attestd.RuleFlag, fact, attestd.ClassPlatform, attestd.GroupPlatform,
		specRuntime, proves, why, hint)
}

const hintVM = "change the virtual machine's security settings in Azure, or the policy"

var appraiseChecks = []attestd.CheckSpec{
	appraised("edge", attestd.RuleOneOf, factWeakest, attestd.ClassBinding, attestd.GroupAuthenticity,
		specShape, "the CPU signed the key that signs for the TPM",
		"the TPM of one machine would speak for the CPU of another",
		"send evidence of this format: nothing else ties them better", attestd.GradeCryptographic.String()),
	appraised("tee", attestd.RuleOneOf, factTEE, attestd.ClassPlatform, attestd.GroupPlatform, specShape,
		"the CPU is of a kind that the policy wants",
		"a kind that nobody planned for would be judged by rules that were not meant for it",
		"name the kind in the policy, or use another size of VM", string(attestd.FormatSEVSNP),
		string(attestd.FormatTDX)),
	appraised("paravisor-signer", attestd.RuleOneOf, factSigner, attestd.ClassMeasurement,
		attestd.GroupMeasurement, specSNP,
		"the code below the guest was signed by a key that Azure is known to use (SNP: ID_KEY_DIGEST), "+
			"or is a trust domain, which has no signer and is known by its measurement",
		"whoever owns a CPU starts a paravisor of his own that states whatever he likes",
		"compare the fact id_key_digest with Azure's; a new one of Azure's needs a newer attestd",
		signerAzure, signerTD, signerUnknown, signerNone),
	flag("secure-boot", factSecureBoot, "the virtual machine was configured with Secure Boot",
		"whoever writes to the disk chooses the boot loader", hintVM),
	flag("tpm-enabled", factTPM, "the virtual machine was configured with its TPM",
		"registers of a TPM that the firmware does not use say nothing", hintVM),
	flag("tpm-persisted", factPersisted, "the TPM's state outlives a boot",
		"keys and counters begin anew at each boot: copies cannot be told from reboots", hintVM),
	flag("console", factConsole, "the host's serial console into the guest is off",
		"whoever has the Azure account reads along and may log in", hintVM),
	flag("interactive-console", factInteractive, "the serial console takes no input",
		"whoever has the Azure account types into the guest", hintVM),
	flag("configuration-known", factConfigKnown,
		"the runtime claims have no member that is unknown here",
		"what a newer paravisor permits would go unseen", "see the fact unknown_members; update attestd"),
	appraised("root-certificate", attestd.RuleOneOf, factThumbprint, attestd.ClassPlatform,
		attestd.GroupPlatform, specRuntime,
		"the paravisor trusts the root certificate that the policy names",
		"another root could release the keys that protect the TPM's state",
		"write the thumbprint of the root that your cloud uses"),
	appraised("user-data", attestd.RuleDigest, factUserData, attestd.ClassBinding, attestd.GroupPlatform,
		specRuntime, "the guest left in NV index 0x01400002 what the policy wants",
		"a machine that was set up otherwise would be taken for one of yours",
		"write the wanted bytes to NV index 0x01400002, or any in the policy"),
}
