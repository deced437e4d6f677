// Package eif predicts the PCRs of an AWS Nitro enclave from its image (Enclave Image Format).
//
// What comes in are the bytes of an image file, which anybody may have written. What is true if
// [Parse] returns no error: the image is whole (its CRC is right), every section is where the
// header says, in the one order that the measuring knows, and its signature, where it has one, is
// one over its own PCR0 by the certificate that it names. What [Image.PCRs] returns then is what
// the Nitro hypervisor measures of such an image (AWS Nitro Enclaves user guide, "Cryptographic
// attestation", "Enclave measurements"; aws-nitro-enclaves-image-format 0.5, which builds images
// and says what they measure to). What is not shown: who the signer is, whether the certificate was
// valid when somebody looked, and that the image is any good. PCR3 and PCR4 are the parent
// instance's, and not in the file.
package eif
