// Package awsdoc verifies the signed attestation documents of the AWS Nitro hypervisor, as far as
// enclaves (package nitro) and instances with NitroTPM (package nitrotpm) have them in common.
//
// What comes in: bytes, a time, a demand. What is true where [Engine.Verify] returns no error: the
// bytes are one untagged COSE_Sign1 in the strict encoding that doc and limits describe; its
// certificates chain, in their order and at that time, to the pinned root; the leaf's P-384 key signed
// exactly these bytes; the timestamp fits the time, the leaf and the demand; nonce and key are those
// demanded. What is not shown: what the registers mean, whether the measured software is a good one,
// whether a certificate was revoked where no revocation list was given (those that are given count),
// and freshness where the demand was a recorded one.
//
// Sources: AWS "Nitro Enclaves Attestation Process" (repository aws-nitro-enclaves-nsm-api,
// docs/attestation_process.md, revision 13464bf), called NSM below; RFC 9052 (COSE); RFC 8949 (CBOR);
// RFC 5280 (X.509).
package awsdoc
