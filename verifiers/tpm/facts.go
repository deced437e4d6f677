package tpm

import (
	"slices"

	"github.com/attestd/attestd"
)

// Facts implements verifiers.Verifier.
func (v *Verifier) Facts() []attestd.FactSpec { return slices.Clone(factSpecs) }

// factSpecs are all facts, in the order in which people are shown them.
var factSpecs = slices.Concat(keyFacts, ekFacts, machineFacts, bootFacts, imaFacts)

var keyFacts = []attestd.FactSpec{
	fact("ak_sha256", attestd.KindBytes,
		"SHA-256 of the attestation key's DER SubjectPublicKeyInfo.", specPublic),
	fact("ak_name", attestd.KindBytes, "Name of the attestation key.", specName),
	fact("ak_algorithm", attestd.KindText,
		"Scheme, key and digest of the attestation key, as in ECDSA P-256 SHA256.", specPublic),
	fact("ak_hierarchy", attestd.KindText,
		"Hierarchy of the attestation key: endorsement or owner.", specName),
	fact("ak_residency", attestd.KindText, "How it was shown that the attestation key lives in a TPM: "+
		"tee (a TEE's report states it), activated, certified (by its cloud) or none.", specCredential),
	fact("protection", attestd.KindText, "What protects the attestation key: hardware, tee (memory "+
		"that the host cannot read), vtpm, insecure (a root that was loaded by hand) or unknown.", specCredential),
	fact("key_grade", attestd.KindText, "The key that was demanded: resident (certified by the "+
		"attestation key), bound (covered by extraData) or none.", specCertify),
	fact("certified_key", attestd.KindBytes,
		"SHA-256 of the DER SubjectPublicKeyInfo of the key that was certified.", specCertify),
	fact("ownership", attestd.KindText,
		"inventory, where the endorsement key is in the operator's and was activated.", specCredential),
}

// ekFacts are about the endorsement key that was activated: nothing ties any other to the machine.
var ekFacts = []attestd.FactSpec{
	fact("ek_sha256", attestd.KindBytes,
		"SHA-256 of the endorsement key's DER SubjectPublicKeyInfo.", specEK),
	fact("ek_trust", attestd.KindText,
		"What vouches for the endorsement key: chain, inventory or none.", specEK),
	fact("ek_certificate", attestd.KindText,
		"The EK certificate at the time judged: valid, expired or absent.", specEK),
	fact("ek_crl", attestd.KindText,
		"Revocation lists of the EK certificate's path: fresh, stale, missing or absent.", specX509),
	fact("ek_not_after", attestd.KindTime, "End of the EK certificate's validity.", specEK),
	fact("ek_root", attestd.KindText, "Common name of the root of the EK certificate's path.", specX509),
	fact("manufacturer", attestd.KindText, "TPM manufacturer, by its TCG vendor id.", specEK),
	fact("tpm_model", attestd.KindText, "TPM model, as the EK certificate has it.", specEK),
	fact("tpm_version", attestd.KindText,
		"TPM version, as the EK certificate had it when it was made.", specEK),
	fact("gce_project", attestd.KindText, "Google Cloud project of the instance.", specGCE),
	fact("gce_zone", attestd.KindText, "Zone of the instance.", specGCE),
	fact("gce_instance_id", attestd.KindText, "Number of the instance.", specGCE),
	fact("gce_instance_name", attestd.KindText, "Name of the instance.", specGCE),
	fact("azure_vm_id", attestd.KindText, "Azure's id of the virtual machine.",
		"Azure Trusted Launch: AK certificate"),
}

var machineFacts = []attestd.FactSpec{
	fact("clock", attestd.KindUint, "Milliseconds that the TPM has been powered.", specClock),
	fact("reset_count", attestd.KindUint, "TPM resets (boots); in the owner hierarchy with an offset.",
		specClock),
	fact("restart_count", attestd.KindUint, "TPM restarts and resumes since the last reset; in the owner "+
		"hierarchy with an offset.", specClock),
	fact("clock_safe", attestd.KindBool, "The clock was never reported higher.", specClock),
	fact("clock_order", attestd.KindText, "Clock and counters against those of the last accepted quote: "+
		"first, forward or backward.", specClock),
	fact("firmware_version", attestd.KindUint, "Firmware version as the quote has it; in the owner "+
		"hierarchy with an offset.", specAttest),
	fact("firmware", attestd.KindComponents, "Firmware version in numbers of 16 bits; not visible in the "+
		"owner hierarchy.", specAttest),
	fact("firmware_vulnerable", attestd.KindBool, "A key has the form of CVE-2017-15361, or the firmware "+
		"is one whose maker withdrew it; not visible where the owner hierarchy hides which it is.", specAttest),
	fact("pcrs", attestd.KindUint, "PCRs that were quoted in every bank, bit n for PCR n.", specQuote),
	fact("pcr_banks", attestd.KindText, "Banks that were quoted, in the quote's order.", specQuote),
	fact("extra_data", attestd.KindBytes, "extraData of the quote.", specAttest),
}

// bootFacts come from a log that led to the quoted PCRs; they are left out, or not visible, without.
var bootFacts = []attestd.FactSpec{
	fact("boot_log", attestd.KindText, "The boot log: replayed or absent.", specPFP),
	fact("boot_bank", attestd.KindText, "Bank in which the boot log was replayed.", specPFP),
	fact("boot_events", attestd.KindUint, "Events of the boot log.", specPFP),
	fact("boot_pcrs", attestd.KindUint, "PCRs to which the boot log leads, bit n for PCR n.", specPFP),
	fact("boot_pcrs_unexplained", attestd.KindUint,
		"Quoted PCRs above 7 that were extended without an event of the log.", specPFP),
	fact("secure_boot", attestd.KindBool, "Secure Boot is on; not visible without PCR 7 and its log.",
		specPFP),
	fact("exit_boot_services", attestd.KindBool,
		"Boot services were left with success; not visible without PCR 5 and its log.", specPFP),
	fact("firmware_debugger", attestd.KindBool, "The firmware measured a debug mode.", specPFP),
	fact("dma_unprotected", attestd.KindBool,
		"The firmware measured that protection against DMA was off.", specPFP),
	fact("late_events", attestd.KindUint,
		"Events in PCR 0 to 7 behind their separator that are not expected there.", specPFP),
	fact("boot_applications", attestd.KindUint, "Images that were started in PCR 4.", specPFP),
	fact("early_applications", attestd.KindUint,
		"Those before the firmware called a boot option.", specPFP),
	fact("boot_drivers", attestd.KindUint, "Images of PCR 2.", specPFP),
	fact("dbx_entries", attestd.KindUint, "Entries of dbx; not visible where it was not measured.",
		specPFP),
	fact("firmware_text", attestd.KindText, "Version of the machine's firmware as it measured it.",
		specPFP),
	fact("boot_phase", attestd.KindText, "Last boot phase that systemd measured in PCR 11.",
		"systemd-pcrphase(8)"),
	fact("gce_technology", attestd.KindText, "What Google's firmware measured about the machine's memory.",
		specPFP),
}

var imaFacts = []attestd.FactSpec{
	fact("ima", attestd.KindText, "The IMA log: replayed or absent.", specIMA),
	fact("ima_entries", attestd.KindUint, "IMA entries since the boot that the quote covers.", specIMA),
	fact("ima_offset", attestd.KindUint, "Bytes of the IMA log that the quote covers.", specIMA),
	fact("ima_bank", attestd.KindText, "Bank of PCR 10 that was replayed.", specIMA),
	fact("ima_register", attestd.KindBytes, "PCR 10 after those entries.", specIMA),
	fact("ima_unquoted", attestd.KindUint, "Entries behind them, of which the quote says nothing.",
		specIMA),
	fact("ima_violations", attestd.KindUint, "Entries of files that changed while they were measured.",
		specIMA),
	fact("ima_kexecs", attestd.KindUint, "Kernels that were started from another without the firmware, "+
		"of those in this part of the log.", specIMA),
	fact("ima_padded", attestd.KindBool, "The entries are bound by SHA-1 alone, as by kernels before 5.8.",
		specIMA),
	fact("ima_aggregate", attestd.KindText, "What ties the IMA log to this boot: PCR 0-9, PCR 0-7, "+
		"earlier, zero or unchecked.", specIMA),
}

func fact(name string, kind attestd.Kind, meaning, spec string) attestd.FactSpec {
	return attestd.FactSpec{Name: name, Kind: kind, Meaning: meaning, Spec: spec}
}
