// Package azurevtpm verifies the evidence of Azure's confidential VMs, on AMD SEV-SNP and on Intel
// TDX: the CPU's report on the paravisor, what the paravisor states in it, and the quote of the TPM
// that the paravisor runs.
//
// What comes in: evidence in the container of package azureevidence (the paravisor's HCL report,
// evidence of the vTPM, on Intel the quote of the trust domain, on AMD certificates of the chip's
// key), a time, a demand and collateral.
//
// What is true when Verify returns Claims: the verifier of the CPU's format accepted its report, which
// carries in REPORTDATA the SHA-256 of exactly these runtime claims and zeros behind it; on AMD the
// paravisor's own level (VMPL 0) asked for it, on Intel the TDREPORT of the HCL report says what the
// quote says; the runtime claims are one JSON document that states one attestation key; the verifier
// of TPM quotes accepted the quote of that very key; and what was demanded is in the quote. So the
// edge from CPU to vTPM is cryptographic: the CPU signed, below the reach of the guest, the key that
// signs for the TPM.
//
// What is not shown: that the code below the guest is Azure's paravisor. Whoever owns a CPU of the same
// kind can start a paravisor of his own, which states what he likes, the virtual machine's id with it:
// the CPU's measurement must be a known one before anything else means anything, and the policy for
// the CPU's format demands that. Freshness is the TPM quote's: the CPU's report is as old as the boot.
// And a guest below an honest paravisor is judged by its registers alone.
//
// Trusted Launch VMs have no report of a CPU; their vTPM is its host's software. Such evidence is not
// of this format: it is a plain TPM quote (package tpm) with the certificate of its key.
package azurevtpm
