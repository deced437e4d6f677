// Package sevsnp verifies AMD SEV-SNP attestation reports.
//
// What comes in: an ATTESTATION_REPORT of 1,184 bytes, alone or followed by the certificate table
// that a host hands to its guest (the extended form), certificates in any order, a time and a demand.
//
// What is true when Verify returns Claims: the report has a version, product and layout that are
// known here; every reserved byte is zero; its signature was made by the VCEK whose certificate AMD
// issued, through the ASK and the ARK that are pinned in this package, for the chip and the TCB that
// the report names; every certificate was valid at the given time; none of them is on a
// revocation list that was given and that the ARK signed; and REPORT_DATA equals what was demanded, in
// all of its 64 bytes.
//
// What is not shown: that the firmware is recent enough, that the guest cannot be debugged, that the
// measurement is a good one, and that the newest revocation list was given. Those are facts of the
// Claims, and a policy decides. Nor can any signature show that a chip's key was not extracted.
//
// Field names and layouts are those of AMD's "SEV Secure Nested Paging Firmware ABI Specification",
// publication 56860, revision 1.58.
package sevsnp
