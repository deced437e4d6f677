package attestd

import "time"

// Anchors are what the verifier's own side knows about keys and machines from before: what an
// operator named, and what earlier exchanges showed. Nothing in them may come from the attester
// whose evidence is judged, except the answer inside an [Activation], which is checked. The zero
// Anchors know nothing, and then nobody vouches for a key that brings no certificate.
type Anchors struct {
	// AttestationKeys are attestation keys that the operator named as trusted: SHA-256 of each DER
	// SubjectPublicKeyInfo.
	AttestationKeys [][32]byte
	// EndorsementKeys are the operator's inventory of endorsement keys: SHA-256 of each DER
	// SubjectPublicKeyInfo.
	EndorsementKeys [][32]byte
	// Activation is what credential activation showed; nil where there was none.
	Activation *Activation
	// LastSeen is what the attestation key's TPM said when it was last accepted; nil for a key that
	// was never seen.
	LastSeen *TPMState
	// CRLFloors are the newest revocation lists that the verifier's own side has seen. A newest list
	// below its floor is one that somebody put back.
	CRLFloors []CRLFloor
	// DocumentFloors are the newest signed documents that the verifier's own side has seen, in the
	// channel that it follows.
	DocumentFloors []DocumentFloor
	// TEEKeys are keys that a TEE's report states as those of a device inside the TEE, such as the vTPM
	// of a paravisor: SHA-256 of each DER SubjectPublicKeyInfo. Only a verifier that verified that report
	// sets them, for the verification of that device.
	TEEKeys [][32]byte
}

// DocumentFloor is how far a maker's signed statements about one subject had come (see
// [Endorsements.Documents]). A document below it is one that somebody put back.
type DocumentFloor struct {
	// Subject is what the document is about, as in "tcb-info/TDX/50806f000000" or
	// "enclave-identity/TD_QE".
	Subject string
	// Evaluation is Intel's tcbEvaluationDataNumber, and IssuedAt the issueDate of the newest document.
	Evaluation uint64
	IssuedAt   time.Time
}

// CRLFloor is the number of the newest revocation list that was seen of an issuer and of one scope of
// its lists (RFC 5280, section 5.2.3: numbers of one issuer and scope never go back).
type CRLFloor struct {
	// Issuer is the SHA-256 of the issuer's DER SubjectPublicKeyInfo.
	Issuer [32]byte
	// Number is the CRL number, big-endian and without leading zeros; empty for 0.
	Number []byte
}

// Activation is a credential that was made for one attestation key under one endorsement key (TPM 2.0
// Library, Part 1, section "Credential Protection"), and the answer to it. Only the TPM that holds
// both keys can answer.
type Activation struct {
	// AKName is the Name of the attestation key that the credential is for, computed by the verifier
	// from the key's public area: algorithm (2 bytes, big-endian) and digest.
	AKName []byte
	// EK is the SHA-256 of the DER SubjectPublicKeyInfo of the endorsement key that the credential
	// was encrypted to.
	EK [32]byte
	// Secret is the SHA-256 of the secret inside the credential, and Answer what the attester
	// returned for it. Both are empty where Earlier is set.
	Secret [32]byte
	Answer []byte
	// Earlier says that the key answered a credential in an earlier exchange with this verifier,
	// which kept that.
	Earlier bool
}

// TPMState is how far a TPM had come when its quote was last accepted. A TPM that has gone back since
// was restored from a copy or is a copy.
type TPMState struct {
	// ResetCount and RestartCount are the counters of TPMS_CLOCK_INFO, Clock its milliseconds.
	ResetCount, RestartCount uint32
	Clock                    uint64
	// Firmware is the version that the quote stated.
	Firmware uint64
	// IMA is how far the machine's IMA log had been replayed; nil for not at all.
	IMA *IMAState
}

// IMAState is a point inside an IMA log from which a later replay can go on, within the same boot.
type IMAState struct {
	// Offset is the length in bytes of the log that was replayed, and Entries how many entries it had.
	Offset, Entries uint64
	// Bank is the bank's name, as in "SHA256", and Register the value of PCR 10 at that point.
	Bank     string
	Register []byte
}
