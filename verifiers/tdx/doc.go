// Package tdx verifies quotes of Intel TDX guests (trust domains, TDs).
//
// What comes in: a quote of version 4 or 5, alone or in the container of
// [github.com/attestd/attestd/internal/tdxevidence] with the event log (CCEL) of the guest; Intel's
// TCB information, the identity of its quoting enclave and revocation lists; a time and a demand.
//
// What is true when Verify returns Claims: the quote has a layout that is known here, and no length in
// it leaves a byte unread; its certificates are exactly a PCK, the CA above it and the root that is
// pinned in package pcs, each valid at the given time and signed by the next; the PCK signed the report
// of an enclave whose REPORTDATA is the hash of the attestation key; that key signed header and body of
// the quote; the TDX module is one that Intel signed, and no debug module; nothing authentic that was
// given says that one of these is revoked; REPORTDATA equals what was demanded, in all of its 64 bytes;
// and the event log, where there is one, leads to the RTMRs.
//
// What is not shown: that the platform's TCB, the module and the enclave are recent enough, that TCB
// information and revocation lists were given and are fresh, that the guest cannot be debugged, that
// its measurements are good. Those are facts of the Claims, and a policy decides (some of them no
// policy can waive). Nor can any signature show that the machine was not opened, or that the key of
// its quoting enclave was not extracted.
//
// Layouts are those of Intel's "TDX DCAP: Quote Generation Library and Quote Verification Library",
// revision 0.9, appendix A.3 (version 4) and A.4 (version 5), and of the "Architecture Specification:
// Intel TDX Module" 1.5.
package tdx
