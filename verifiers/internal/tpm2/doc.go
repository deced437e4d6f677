// Package tpm2 reads the few TPM 2.0 structures that evidence is made of: TPMT_PUBLIC, TPMS_ATTEST
// (quote and certify) and TPMT_SIGNATURE.
//
// What comes in: bytes that an attacker chose. What is true where a reader returned no error: the
// structure fills the input to its last byte, every length fits, every selector has a value that is
// known here together with the union member that belongs to it, reserved bits are zero, and an
// elliptic curve point lies on its curve. What is not shown: that a key is good for anything (its
// attributes, scheme and size are the caller's to judge), that a signature was made by anybody, and
// that a TPM wrote the structure: any key that is not restricted signs whatever it is given.
//
// Results are parts of the input; nothing is copied but public keys. Structures and constants are
// those of the "Trusted Platform Module Library", Part 2: Structures, revision 01.59, whose sections
// the comments cite.
package tpm2
