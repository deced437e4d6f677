// Package tpm verifies TPM 2.0 quotes, with what stands behind their key and before their registers.
//
// What comes in: evidence in the container of package tpmevidence (a quote, PCR values, public areas,
// certificates, a certified key, logs), a time, a demand, and what the verifier's own side knows of
// keys and machines from before (attestd.Anchors).
//
// What is true when Verify returns Claims: the attestation key is one that signs only what a TPM
// made, cannot leave its TPM, and somebody vouches for it: a credential that its TPM opened under an
// endorsement key that is trusted, a certificate under a pinned root, the report of a TEE that contains
// the TPM (for which its verifier vouches), or the operator by name. That
// key signed exactly this quote, which names it by its Qualified Name and carries what was demanded;
// the PCR values are those that the quote selects and digests, in banks of SHA-256 or better; a key
// that came along was certified by the same attestation key under the same demand; and a log that
// came along leads to the quoted registers.
//
// What is not shown: that what was measured is good, that the firmware measured what it ran, that the
// machine is ours, and anything about a physical TPM that was opened or whose bus was tapped. For a
// key that only an operator names, the quote shows nothing about the TPM: residency is "none". A
// virtual TPM outside of a confidential machine is its host's software and is never called hardware.
//
// Structures are those of the "Trusted Platform Module Library", revision 01.59.
package tpm
