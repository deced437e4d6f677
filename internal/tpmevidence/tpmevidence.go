// Package tpmevidence is the container in which the parts of TPM 2.0 evidence travel together: TPM
// structures, certificates, PCR values and logs, each byte for byte as TPM, firmware or kernel gave
// it.
//
// What comes in to [Parse]: bytes that an attacker chose. What is true where it returned no error:
// they are the one encoding of the [Evidence] that it returns (deterministic CBOR, RFC 8949 section
// 4.2.1: a map with ascending keys, shortest lengths, nothing behind it), and no part is over its
// limit. What is not shown: anything about the parts themselves.
//
// The map's keys are small numbers; 0 is first and holds the format's name, so that the first bytes
// tell this format from every other. A part that is absent has no key: nothing is null and no part is
// empty but the new entries of an IMA log.
package tpmevidence

// Evidence are the parts. Parse gives slices of its input.
type Evidence struct {
	// AKPublic is the attestation key's TPMT_PUBLIC.
	AKPublic []byte
	// AKParents are the Names of the attestation key's ancestors, from the primary key down; none
	// for a primary key.
	AKParents [][]byte
	// EKPublic is the endorsement key's TPMT_PUBLIC; nil for none.
	EKPublic []byte
	// EKCertificate and AKCertificate are DER; nil for none.
	EKCertificate, AKCertificate []byte
	// Intermediates are DER certificates between either of them and a root.
	Intermediates [][]byte
	// Quote is TPMS_ATTEST, QuoteSignature TPMT_SIGNATURE.
	Quote, QuoteSignature []byte
	// PCRs are the values of exactly the PCRs that the quote selects.
	PCRs []Bank
	// Key is a key that the attestation key certified; nil for none.
	Key *Key
	// EventLog is the boot log as the firmware kept it; nil for none.
	EventLog []byte
	// IMA is the kernel's log from an offset on; nil for none.
	IMA *IMALog
}

// Bank are the values of some PCRs in one bank. Banks ascend by algorithm, PCRs by index.
type Bank struct {
	// Algorithm is the bank's TPM_ALG_ID.
	Algorithm uint16
	PCRs      []PCR
}

// PCR is the value of one PCR.
type PCR struct {
	Index uint8
	Value []byte
}

// Key is a key with the attestation key's statement about it (TPM2_Certify).
type Key struct {
	// Public is TPMT_PUBLIC, Attest TPMS_ATTEST, Signature TPMT_SIGNATURE.
	Public, Attest, Signature []byte
}

// IMALog is a part of the kernel's binary runtime measurements.
type IMALog struct {
	// Offset is where Log begins in the kernel's log, in bytes.
	Offset uint64
	Log    []byte
}

// limits bound every part. They are several times what hardware gives, so that an honest machine
// never meets one, and low enough that no part costs more to look at than a signature does.
var limits = struct {
	evidence, eventLog, ima                     int // whole, boot log, IMA entries of one exchange
	structure, certificate                      int // TPM structures; DER
	intermediates, parents, banks, pcrs, digest int
}{
	evidence: 8 << 20, eventLog: 2 << 20, ima: 6 << 20,
	structure:     2 << 10,  // an RSA-4096 public area has 540 bytes, a signature 518
	certificate:   16 << 10, // EK certificates have 1 to 2 KiB
	intermediates: 8, parents: 8,
	banks:  8,  // hash algorithms that the TCG has numbers for
	pcrs:   32, // PCR_SELECT_MAX of 4 bytes
	digest: 66, // a Name of SHA-512
}

// Name is the format's name, the value of key 0.
const Name = "attestd/tpm-evidence/v1"

// Keys of the map, in their order.
const (
	keyName uint64 = iota
	keyAKPublic
	keyAKParents
	keyEKPublic
	keyEKCertificate
	keyAKCertificate
	keyIntermediates
	keyQuote
	keyQuoteSignature
	keyPCRs
	keyKey
	keyEventLog
	keyIMA
	keyCount
)

// prefix are the bytes behind the map's head: key 0 and the name.
const prefix = "\x00\x77" + Name

// IsEvidence reports whether data begins as this format does. It is cheap and shows nothing more.
func IsEvidence(data []byte) bool {
	return len(data) > len(prefix) && data[0] > 0xa0 && data[0] <= 0xa0|byte(keyCount) &&
		string(data[1:1+len(prefix)]) == prefix
}
