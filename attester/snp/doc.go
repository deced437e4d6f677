// Package snp collects evidence inside an AMD SEV-SNP guest: an attestation report, and the
// certificates that the host keeps for its guests.
//
// What comes in: 64 bytes for the report data. What is true where a call returns no error: the guest's
// firmware interface gave a report that holds exactly these bytes, through one of the kernel's two
// ways: configfs-tsm (Linux 6.7 and later, Documentation/ABI/testing/configfs-tsm-report) or
// /dev/sev-guest (Documentation/virt/coco/sev-guest.rst). What is not shown: that the report is
// genuine. Only a verifier shows that.
//
// The certificates come from the host, which may leave them out or send others. They travel behind
// the report as the host laid them out; a verifier looks for a chain to a pinned root among them.
package snp
