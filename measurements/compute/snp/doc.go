// Package snp predicts the launch digest (MEASUREMENT) of an SEV-SNP guest from its firmware, the
// number and kind of its processors, and the virtual machine monitor that starts it.
//
// What comes in are the bytes of an OVMF image and what the caller says of the machine. What is
// true of a digest that [Launch.Digest] returns: it is what the AMD Secure Processor computes (AMD
// 56860, "SEV Secure Nested Paging Firmware ABI Specification", section 8.17.2, SNP_LAUNCH_UPDATE)
// over the pages that the named profile of a monitor adds, in its order. What is not shown: that a
// monitor of that name still does so. Monitors do not publish what they put into the first state of
// a processor; each [Profile] names where it was learned and of which version. Firmware in the IGVM
// format, guests with an SVSM, and firmware that is split into code and variables with only one
// part given have no prediction here.
package snp
