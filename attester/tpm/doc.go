// Package tpm collects evidence from a TPM 2.0: a quote over PCRs by an attestation key, the boot
// logs, and a key that lives in the same TPM.
//
// What comes in: a device file of the kernel ("/dev/tpmrm0") or a software TPM's socket
// ("swtpm:PATH"). What is true where a call returns no error: the TPM answered each command with
// success, the PCR values are those that the quote's digest covers, and the attestation key is the
// one of our template, in the endorsement hierarchy, that the TPM keeps. What is not shown: that it
// is a TPM at all. Only a verifier shows that, from the endorsement key's certificate and the answer
// to a credential.
//
// The endorsement key is the one that the maker left and certified, or is made from the template
// once. The attestation key is a primary key of the endorsement hierarchy, because a quote by a key
// of another hierarchy has its reset count, restart count and firmware version garbled (TPM 2.0
// Library, Part 1, revision 1.59, section 36.7 "Privacy"). Both are made once and persist: on a real chip
// making an RSA key takes seconds.
//
// One connection works at a time, under a lock that other processes see. Whatever a connection
// loaded is flushed when it closes, also after an error: a TPM has room for three objects.
package tpm
