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

// Issued is a challenge as it is stored before anybody sees it.
type Issued struct {
	attestd.Challenge
	// Source is where the wish for it came from, for the limits.
	Source string
	// Credential goes with the challenge; nil for none.
	Credential *Credential
}

// Taken is a challenge that was consumed.
type Taken struct {
	attestd.Challenge
	// Credential that went with it; nil for none.
	Credential *Credential
	// Key is what is known of the credential's attestation key; nil where it never answered one.
	Key *Key
}

// Answered is the appraisal of evidence that answered a challenge, as it is stored: the verdict
// document that the caller was given, byte for byte.
type Answered struct {
	ID, ChallengeID, Tenant string
	Document                []byte
	// Seen is what an accepted verdict showed of an attestation key that answered a credential; nil
	// where nothing is to be remembered. It is stored with the verdict or not at all.
	Seen *Seen
}
