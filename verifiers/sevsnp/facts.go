package sevsnp

import (
	"slices"

	"github.com/attestd/attestd"
)

// Facts implements verifiers.Verifier.
func (v *Verifier) Facts() []attestd.FactSpec { return slices.Clone(factSpecs) }

var factSpecs = slices.Concat(reportFacts, revocationFacts)

var reportFacts = []attestd.FactSpec{
	fact("report_version", attestd.KindUint, "Version of the report's layout, 2 to 5.", specReport),
	fact("product", attestd.KindText,
		"Product: Milan, Milan-X, Genoa, Genoa-X, Bergamo (and Siena), Turin or Turin-Dense.", specReport),
	fact("kds_product", attestd.KindText, "Product name in the VCEK or VLEK certificate.", specVCEK),
	fact("cpuid_family", attestd.KindUint, "CPUID family; not visible before version 3.", specReport),
	fact("cpuid_model", attestd.KindUint, "CPUID model; not visible before version 3.", specReport),
	fact("cpuid_stepping", attestd.KindUint, "CPUID stepping; not visible before version 3.", specReport),
	fact("measurement", attestd.KindBytes, "Launch digest of the guest.", specReport),
	fact("report_data", attestd.KindBytes, "64 bytes that the guest chose.", specReport),
	fact("host_data", attestd.KindBytes, "32 bytes that the host chose at launch.", specReport),
	fact("report_id", attestd.KindBytes, "Name of this guest instance.", specReport),
	fact("migration_agent", attestd.KindBool, "A migration agent is bound to the guest.", specReport),
	fact("chip_id", attestd.KindBytes,
		"Name of the chip, 64 bytes, Turin's 8; not visible where masked or signed by a VLEK.", specReport),
	fact("chip_id_masked", attestd.KindBool,
		"The host hides the chip's name; not visible where a VLEK signed.", specReport),
	fact("mask_chip_key", attestd.KindBool, "The host has set MASK_CHIP_KEY.", specReport),
	fact("signing_key", attestd.KindText, "Kind of the key that signed: VCEK or VLEK.", specReport),
	fact("csp_id", attestd.KindText, "Cloud whose VLEK signed; not visible for a VCEK.", specVCEK),
	fact("vmpl", attestd.KindUint, "Privilege level at which the report was asked for.", specReport),
	fact("host_requested", attestd.KindBool, "The host asked for the report, not the guest.", specReport),
	fact("guest_svn", attestd.KindUint, "Security version of the guest, from its ID block.", specReport),
	fact("policy", attestd.KindUint, "Guest policy as a number.", specPolicy),
	fact("policy_abi", attestd.KindUint, "Least firmware ABI: 256 times major plus minor.", specPolicy),
	fact("debug", attestd.KindBool, "The host may debug the guest.", specPolicy),
	fact("migrate_ma", attestd.KindBool, "The guest may be bound to a migration agent.", specPolicy),
	fact("policy_smt_allowed", attestd.KindBool, "The guest may run with SMT on.", specPolicy),
	fact("policy_single_socket", attestd.KindBool, "The guest may run on one socket only.", specPolicy),
	fact("policy_cxl_allowed", attestd.KindBool, "CXL may be populated.", specPolicy),
	fact("policy_mem_aes_256_xts", attestd.KindBool, "The guest demands AES-256-XTS.", specPolicy),
	fact("policy_rapl_disabled", attestd.KindBool, "The guest demands RAPL off.", specPolicy),
	fact("policy_ciphertext_hiding", attestd.KindBool, "The guest demands ciphertext hiding.", specPolicy),
	fact("policy_page_swap_disabled", attestd.KindBool,
		"The guest forbids page moves and swaps; not visible before version 5.", specPolicy),
	fact("platform_info", attestd.KindUint, "PLATFORM_INFO as a number.", specReport),
	fact("smt_enabled", attestd.KindBool, "SMT is on.", specReport),
	fact("tsme_enabled", attestd.KindBool, "Transparent memory encryption is on.", specReport),
	fact("ecc_enabled", attestd.KindBool, "Memory error correction is on.", specReport),
	fact("rapl_disabled", attestd.KindBool, "Power readings are off.", specReport),
	fact("ciphertext_hiding_enabled", attestd.KindBool, "Ciphertext hiding is on.", specReport),
	fact("alias_check_complete", attestd.KindBool,
		"Memory was checked for aliases since reset; not visible before version 3.", specReport),
	fact("iommu_write_safe", attestd.KindBool,
		"The host is proof against CVE-2023-20585; not visible before version 5.", specIOMMU),
	fact("tio_enabled", attestd.KindBool, "SEV-TIO is on; not visible before version 5.", specReport),
	fact("unknown_bits", attestd.KindBool, "POLICY or PLATFORM_INFO has an undefined bit set.", specReport),
	fact("unknown_policy_bits", attestd.KindUint, "Undefined bits of POLICY that are set.", specPolicy),
	fact("unknown_platform_bits", attestd.KindUint, "Undefined bits of PLATFORM_INFO set.", specReport),
	fact("current_tcb", attestd.KindComponents, "TCB that runs.", specTCB),
	fact("reported_tcb", attestd.KindComponents, "TCB that the signing key was made for.", specTCB),
	fact("committed_tcb", attestd.KindComponents, "TCB below which the host cannot go.", specTCB),
	fact("launch_tcb", attestd.KindComponents, "TCB at the guest's launch.", specTCB),
	fact("tcb_ordered", attestd.KindBool, "Reported <= committed <= current in every component.", specTCB),
	fact("current_version", attestd.KindText, "Firmware that runs: major.minor.build.", specReport),
	fact("committed_version", attestd.KindText, "Firmware that is committed.", specReport),
	fact("provisional_firmware", attestd.KindBool, "Running firmware is not the committed one.", specReport),
	fact("launch_mit_vector", attestd.KindUint,
		"Mitigations in force at launch; not visible before version 5.", specReport),
	fact("current_mit_vector", attestd.KindUint,
		"Mitigations in force; not visible before version 5.", specReport),
	fact("mit_entrysign", attestd.KindBool,
		"CVE-2024-56161 is mended; not visible before version 3.", specEntrySign),
	fact("mit_rmpocalypse", attestd.KindBool,
		"CVE-2025-0033 is mended; not visible where no level is known.", specRMPocalypse),
	fact("mit_stackwarp", attestd.KindBool,
		"CVE-2025-29943 is mended; not visible where no level is known.", specStackWarp),
	fact("author_key_enabled", attestd.KindBool, "The ID block carried an author key.", specReport),
	fact("id_key_digest", attestd.KindBytes, "SHA-384 of the ID key; zero for none.", specReport),
	fact("author_key_digest", attestd.KindBytes, "SHA-384 of the author key; zero for none.", specReport),
	fact("family_id", attestd.KindBytes, "Family of the guest, from its ID block.", specReport),
	fact("image_id", attestd.KindBytes, "Image of the guest, from its ID block.", specReport),
	fact("vcek_sha256", attestd.KindBytes, "SHA-256 of the VCEK or VLEK certificate.", specVCEK),
	fact("vcek_not_after", attestd.KindTime, "End of that certificate's validity.", specVCEK),
}

func fact(name string, kind attestd.Kind, meaning, spec string) attestd.FactSpec {
	return attestd.FactSpec{Name: name, Kind: kind, Meaning: meaning, Spec: spec}
}
