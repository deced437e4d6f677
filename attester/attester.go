package attester

import (
	"context"

	"github.com/attestd/attestd"
)

// Evidence is what an Attester collected, ready to be sent to a verifier.
type Evidence struct {
	Format attestd.Format
	// Bytes are the evidence as POST /v1/verify and attestd verify take it.
	Bytes []byte
	// Endorsements came from the machine beside the evidence, such as the certificates that a host
	// keeps for its guests. They are not part of Bytes.
	Endorsements attestd.Endorsements
	// Notes say, for people, what the evidence could have held and does not, and why.
	Notes []string
}

// Request says what evidence must hold.
type Request struct {
	// Freshness goes into the format's freshness field: what [Challenge.Freshness] returned, or a
	// nonce as it stands.
	Freshness []byte
	// Key is the DER SubjectPublicKeyInfo of the key that the evidence is to carry in a field of its
	// own; empty for none. A format without such a field refuses it: there the freshness value alone
	// binds a key.
	Key []byte
}

// Attester collects evidence of one format.
type Attester interface {
	Format() attestd.Format
	Collect(ctx context.Context, request Request) (Evidence, error)
}
