package tdx

import (
	"slices"

	"github.com/attestd/attestd"
)

// Facts implements verifiers.Verifier.
func (v *Verifier) Facts() []attestd.FactSpec { return slices.Clone(factSpecs) }

var factSpecs = slices.Concat(quoteFacts, platformFacts, logFacts, tcbFactSpecs)

var quoteFacts = []attestd.FactSpec{
	fact("quote_version", attestd.KindUint, "Version of the quote's layout, 4 or 5.", specQuote),
	fact("report_layout", attestd.KindText, "Layout of the TD report: 1.0 or 1.5.", specQuote),
	fact("mrtd", attestd.KindBytes, "Measurement of the TD's initial contents.", specTDInfo),
	fact("rtmr0", attestd.KindBytes, "Runtime register 0: firmware's configuration.", specTDInfo),
	fact("rtmr1", attestd.KindBytes, "Runtime register 1: what the firmware started.", specTDInfo),
	fact("rtmr2", attestd.KindBytes, "Runtime register 2: what the boot loader started.", specTDInfo),
	fact("rtmr3", attestd.KindBytes, "Runtime register 3: left to software in the TD.", specTDInfo),
	fact("report_data", attestd.KindBytes, "64 bytes that the TD chose.", specTDInfo),
	fact("mrconfigid", attestd.KindBytes, "Configuration that the host gave at launch.", specTDInfo),
	fact("mrowner", attestd.KindBytes, "Owner that the host named at launch.", specTDInfo),
	fact("mrownerconfig", attestd.KindBytes, "The owner's configuration, as named at launch.", specTDInfo),
	fact("mrservicetd", attestd.KindBytes,
		"Hash over the service TDs that are bound, zero for none; not visible in TDX 1.0.", specTDInfo),
	fact("service_td_bound", attestd.KindBool,
		"A service TD is bound to the TD; not visible in TDX 1.0.", specTDInfo),
	fact("mrseam", attestd.KindBytes, "Measurement of the TDX module.", specModule),
	fact("tee_tcb_svn", attestd.KindBytes,
		"Security versions at the TD's launch: module minor, module major, loader.", specModule),
	fact("tee_tcb_svn_2", attestd.KindBytes,
		"The same of what runs now; not visible in TDX 1.0.", specModule),
	fact("td_attributes", attestd.KindUint, "TD_ATTRIBUTES as a number.", specBits),
	fact("debug", attestd.KindBool, "The host may debug the TD.", specBits),
	fact("profiling", attestd.KindBool, "The host may profile the TD.", specBits),
	fact("icssd", attestd.KindBool, "ICSSD is set.", specBits),
	fact("lass", attestd.KindBool, "Linear addresses are separated.", specBits),
	fact("sept_ve_disable", attestd.KindBool,
		"A page that the host took away raises no exception in the TD.", specBits),
	fact("migratable", attestd.KindBool, "The TD may be moved to another machine.", specBits),
	fact("pks", attestd.KindBool, "The TD may use protection keys for supervisor pages.", specBits),
	fact("key_locker", attestd.KindBool, "The TD may use Key Locker.", specBits),
	fact("provisioning_agent", attestd.KindBool,
		"The TD is a provisioning agent of TDX Connect.", specBits),
	fact("perfmon", attestd.KindBool, "The TD may use performance counters.", specBits),
	fact("xfam", attestd.KindUint, "XFAM as a number.", specXFAM),
	fact("xfam_pt", attestd.KindBool, "The TD may use processor trace.", specXFAM),
	fact("xfam_lbr", attestd.KindBool, "The TD may record last branches.", specXFAM),
	fact("xfam_cet", attestd.KindBool, "The TD may use control-flow enforcement.", specXFAM),
	fact("xfam_uintr", attestd.KindBool, "The TD may use user interrupts.", specXFAM),
	fact("xfam_pkru", attestd.KindBool, "The TD may use protection keys.", specXFAM),
	fact("xfam_avx512", attestd.KindBool, "The TD may use AVX-512.", specXFAM),
	fact("xfam_amx", attestd.KindBool, "The TD may use AMX.", specXFAM),
	fact("unknown_bits", attestd.KindBool, "ATTRIBUTES or XFAM has an unknown bit set.", specBits),
	fact("unknown_attribute_bits", attestd.KindUint, "Unknown bits of ATTRIBUTES set.", specBits),
	fact("unknown_xfam_bits", attestd.KindUint, "Unknown bits of XFAM that are set.", specXFAM),
}

var platformFacts = []attestd.FactSpec{
	fact("pck_ca", attestd.KindText, "CA that issued the PCK: processor or platform.", specPCK),
	fact("fmspc", attestd.KindBytes, "Family, model, stepping and SKU of the platform.", specPCK),
	fact("pceid", attestd.KindBytes, "Provisioning certification enclave.", specPCK),
	fact("ppid", attestd.KindBytes,
		"Name of the platform; not visible where the certificate leaves it out.", specPCK),
	fact("ppid_missing", attestd.KindBool, "The PCK certificate names no platform.", specPCK),
	fact("piid", attestd.KindBytes,
		"Instance of the platform; not visible below the processor CA.", specPCK),
	fact("sgx_type", attestd.KindText, "How the platform protects memory.", specPCK),
	fact("dynamic_platform", attestd.KindBool,
		"Packages can be added; not visible below the processor CA.", specPCK),
	fact("cached_keys", attestd.KindBool,
		"Intel keeps the platform's keys; not visible below the processor CA.", specPCK),
	fact("smt_enabled", attestd.KindBool,
		"Multithreading is on; not visible below the processor CA.", specPCK),
	fact("cpusvn", attestd.KindBytes, "CPUSVN that the PCK was issued for.", specPCK),
	fact("pcesvn", attestd.KindUint, "PCESVN that the PCK was issued for.", specPCK),
	fact("pck_sha256", attestd.KindBytes, "SHA-256 of the PCK certificate.", specPCK),
	fact("pck_not_after", attestd.KindTime, "End of that certificate's validity.", specPCK),
	fact("qe_mrenclave", attestd.KindBytes, "Measurement of the quoting enclave.", specQuote),
	fact("qe_isvsvn", attestd.KindUint, "Security version of the quoting enclave.", specQuote),
	fact("qe_id", attestd.KindBytes, "Name of the quoting enclave's installation.", specQuote),
}

var logFacts = []attestd.FactSpec{
	fact("event_log", attestd.KindText, "replayed, or absent.", specCCEL),
	fact("event_log_events", attestd.KindUint, "Events of the log; absent without one.", specCCEL),
	fact("rtmrs_explained", attestd.KindUint,
		"Bit n is set where the log gives RTMR n; absent without a log.", specCCEL),
	fact("rtmrs_unexplained", attestd.KindUint,
		"Bit n is set where RTMR n holds what the log does not say; not visible without a log.",
		specCCEL),
	fact("secure_boot", attestd.KindBool,
		"Secure Boot is on; not visible without a log that shows it.", specCCEL),
	fact("firmware_debugger", attestd.KindBool,
		"The firmware measured a debug mode; not visible without a log.", specCCEL),
	fact("exit_boot_services", attestd.KindBool,
		"Boot services were left; not visible without a log.", specCCEL),
	fact("boot_applications", attestd.KindUint,
		"Images that the firmware started; absent without a log.", specCCEL),
	fact("dbx_entries", attestd.KindUint,
		"Entries of the list of forbidden images; not visible where it was not measured.", specCCEL),
	fact("firmware_text", attestd.KindText, "Version that the firmware measured.", specCCEL),
}

func fact(name string, kind attestd.Kind, meaning, spec string) attestd.FactSpec {
	return attestd.FactSpec{Name: name, Kind: kind, Meaning: meaning, Spec: spec}
}
