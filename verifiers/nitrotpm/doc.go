// Package nitrotpm verifies attestation documents of EC2 instances with NitroTPM.
//
// What comes in: the COSE_Sign1 that nitro-tpm-attest returned, a time, a demand. What is true where
// Verify returns Claims: everything that package awsdoc promises of its bytes, chain, signature, time
// and binding; and the document is an instance's (its registers are in "nitrotpm_pcrs"). What is not
// shown: that the measured boot is a good one (appraisal compares its registers with reference
// values), and that no certificate was revoked.
//
// This is measured boot and nothing more: the instance's memory is not encrypted against its host, and
// a document says nothing about what was loaded after the last register was extended. It never stands
// for an enclave, nor an enclave's document for it.
//
// Source: Amazon EC2 User Guide, "Validate a NitroTPM Attestation Document" and "NitroTPM Attestation
// Document contents". No document recorded from hardware is published: the tests use a CA of their own.
package nitrotpm
