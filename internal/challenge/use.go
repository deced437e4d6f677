package challenge

import "github.com/attestd/attestd"

// Outcome of handing in a challenge. The zero Outcome denies.
type Outcome uint8

// Outcomes of [Store.Consume].
const (
	// Unknown: no such challenge, or one that expired so long ago that its row is gone.
	Unknown Outcome = iota
	// UsedBefore: the challenge was consumed by an earlier call.
	UsedBefore
	// Expired: the challenge was never used and its time is over.
	Expired
	// Foreign: the challenge was issued for another tenant, purpose or format. It is left alone, so
	// that one tenant cannot burn the challenges of another.
	Foreign
	// Consumed: the challenge is this caller's, and nobody's after it.
	Consumed
)

// Use names the challenge that a caller hands in, and what for.
type Use struct {
	ID, Tenant, Purpose string
	Format              attestd.Format
}

// Answered is the appraisal of evidence that answered a challenge, as it is stored: the verdict
// document that the caller was given, byte for byte.
type Answered struct {
	ID, ChallengeID, Tenant string
	Document                []byte
}
