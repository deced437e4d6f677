package attestd

import (
	"crypto/sha256"
	"time"
)

// Evidence is what an Attester sent. Nothing about it is believed: no method leads from Evidence to
// a measurement.
type Evidence struct {
	// Format says how to read Bytes; empty until it was named by the caller or detected.
	Format Format
	// Bytes are the bytes exactly as received. They are never written to.
	Bytes []byte
}

// Digest is the SHA-256 of the bytes as received, the name under which evidence is kept. It is no
// replay key: ECDSA signatures can be changed without becoming invalid, so two Evidences with
// different digests can be the same statement.
func (e Evidence) Digest() [sha256.Size]byte { return sha256.Sum256(e.Bytes) }

// Endorsements are the vendor's statements that came with evidence or were kept from earlier: they
// are as untrusted as the evidence until a chain to a pinned root is shown.
type Endorsements struct {
	// Certificates are X.509 certificates in DER, in no particular order.
	Certificates [][]byte
	// CRLs are X.509 certificate revocation lists in DER, in no particular order.
	CRLs [][]byte
	// Documents are signed statements that are neither, whole and in the maker's own form: Intel's TCB
	// information and identities of enclaves, as the PCS answers them (JSON with a signature beside
	// the object that it signs). They come from sources that the verifier's own side configured, never
	// from whoever sent the evidence: an old one would be as authentic as a new one.
	Documents [][]byte `json:"-"`
}

// Input is everything a verification depends on. The same Input gives the same answer for ever.
type Input struct {
	// Evidence are the bytes as received.
	Evidence []byte
	// Endorsements are certificates and CRLs to be used beside those inside the evidence.
	Endorsements Endorsements
	// At is the time at which validity is judged. The zero time is refused.
	At time.Time
	// Demand says which nonce and which key the evidence must be bound to.
	Demand Demand
	// Anchors are what the verifier's own side knows from before; formats whose evidence brings a
	// chain to a vendor's root need none.
	Anchors Anchors
}
