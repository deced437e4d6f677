// Package nitro verifies attestation documents of AWS Nitro Enclaves.
//
// What comes in: the COSE_Sign1 that an enclave's Nitro Security Module returned, a time, a demand.
// What is true where Verify returns Claims: everything that package awsdoc promises of its bytes,
// chain, signature, time and binding; the document is an enclave's (its registers are in "pcrs"), and
// registers 0, 1 and 2 are there. What is not shown: that the enclave runs in production mode (the
// fact "debug" says it and the policy decides), that what it measured is known (appraisal compares its
// registers with reference values), whose account it runs in (PCR3 and PCR4 can say it), and that no
// certificate was revoked (the fact "crl" says how far that was looked at).
//
// Registers (AWS Nitro Enclaves User Guide, "Where to get an enclave's measurements"): 0 the image,
// 1 kernel and boot ramdisk, 2 application, 3 the parent's IAM role, 4 the parent instance's id, 8 the
// certificate that signed the image. Registers from 16 on are the enclave's own to extend and lock.
package nitro
