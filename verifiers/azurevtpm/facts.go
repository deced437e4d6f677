package azurevtpm

import (
	"slices"

	"github.com/attestd/attestd"
)

// Names of facts.
const (
	factTEE         = "tee"
	factSigner      = "paravisor_signer"
	factWeakest     = "weakest_edge"
	factVM          = "vm_unique_id"
	factSecureBoot  = "configured_secure_boot"
	factTPM         = "configured_tpm"
	factPersisted   = "tpm_persisted"
	factConsole     = "console_enabled"
	factInteractive = "interactive_console_enabled"
	factConfigKnown = "configuration_known"
	factThumbprint  = "root_cert_thumbprint"
	factUserData    = "user_data"
	factKeyGrade    = "key_grade"
	factOwnership   = "ownership"
)

// Values of the fact paravisor_signer.
const (
	signerAzure   = "azure"
	signerUnknown = "unknown"
	signerNone    = "none"
	signerTD      = "td"
)

// Facts implements verifiers.Verifier; those of the devices are in their claims.
func (v *Verifier) Facts() []attestd.FactSpec { return slices.Clone(factSpecs) }

// factSpecs in the order in which people are shown them.
var factSpecs = []attestd.FactSpec{
	fact(factTEE, attestd.KindText, "Format of the CPU's report: sev-snp or tdx.", specShape),
	fact("hcl_version", attestd.KindUint, "Version of the HCL report's header.", specHCL),
	fact(factSigner, attestd.KindText, "Who signed the paravisor: azure (an ID key that published reports "+
		"of Azure's have), unknown, none, or td (a trust domain, which has no signer).", specSNP),
	fact(factWeakest, attestd.KindText, "Grade of the edge from CPU to TPM: cryptographic.", specShape),
	fact(factVM, attestd.KindText, "vmUniqueId in lower case; not visible where there is none.",
		specRuntime),
	fact(factSecureBoot, attestd.KindBool,
		"Secure Boot as configured; what was booted is in the TPM's registers.", specRuntime),
	fact(factTPM, attestd.KindBool, "The TPM as configured.", specRuntime),
	fact(factPersisted, attestd.KindBool,
		"The TPM's state outlives a boot; not visible in older paravisors.", specRuntime),
	fact(factConsole, attestd.KindBool, "The serial console is on.", specRuntime),
	fact(factInteractive, attestd.KindBool,
		"The serial console takes input; not visible in older paravisors.", specRuntime),
	fact("ipmi_enabled", attestd.KindBool, "IPMI is on; not visible in older paravisors.", specRuntime),
	fact("filtered_vpci_devices_allowed", attestd.KindBool,
		"Filtered virtual PCI devices may be assigned; not visible in older paravisors.", specRuntime),
	fact("tpm_version", attestd.KindText, "Version of the TPM's firmware; not visible in older paravisors.",
		specRuntime),
	fact("hardware_sealing_policy", attestd.KindText,
		"How the TPM's state is sealed to the CPU; not visible in older paravisors.", specRuntime),
	fact(factThumbprint, attestd.KindText,
		"Thumbprint of the root certificate that the paravisor trusts; not visible in older ones.",
		specRuntime),
	fact(factConfigKnown, attestd.KindBool, "No member of the runtime claims is unknown here.",
		specRuntime),
	fact("unknown_members", attestd.KindText, "Names of those that are.", specRuntime),
	fact(factUserData, attestd.KindBytes,
		"64 bytes that the guest left in NV index 0x01400002; not visible where the claims have none.",
		specRuntime),
	fact(factKeyGrade, attestd.KindText,
		"The key that was demanded, as the TPM's evidence has it: resident, bound or none.", specShape),
	fact(factOwnership, attestd.KindText,
		"What the TPM's evidence shows of whose machine it is; absent where it shows nothing.", specShape),
}

func fact(name string, kind attestd.Kind, meaning, spec string) attestd.FactSpec {
	return attestd.FactSpec{Name: name, Kind: kind, Meaning: meaning, Spec: spec}
}
