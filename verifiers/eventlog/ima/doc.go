// Package ima reads the measurement list of the Linux kernel's Integrity Measurement Architecture
// and replays it to a quoted PCR 10.
//
// What comes in are the bytes of binary_runtime_measurements (or of one of its siblings that name a
// bank, as in binary_runtime_measurements_sha256, Linux 6.9 and later), whole or from a point that
// was replayed before in the same boot, and PCR values that a verified quote vouches for. What is
// true if [Replay] returns no fault: PCR 10 was extended with exactly the entries that are counted,
// in their order; each entry's template digest is that of its template data; and where the log
// starts at the boot and the PCRs 0 to 9 are at hand, the first entry is the aggregate of these
// PCRs, which ties the list to the boot that the quote is of.
//
// What is not shown: anything about entries behind the quoted point, which the kernel may have
// appended after the quote and anybody may have written; the names of templates, which no digest
// covers; the data of violations, in place of which the kernel extends ones; what a file held that
// the kernel's policy does not measure; and what ran before a kexec that threw the list away. A log
// of a kernel before 5.8 is bound by SHA-1 digests alone, in whatever bank; Log.Padded says so.
//
// Formats: Linux, security/integrity/ima/ima_fs.c (ima_measurements_show), ima_template.c and
// ima_template_lib.c; Documentation/security/IMA-templates.rst.
package ima
