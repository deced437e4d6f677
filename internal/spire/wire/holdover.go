package wire

import "time"

// MethodHoldover is asked by composers (role issuer): HoldoverRequest -> HoldoverAnswer. Each
// question is for what a composer goes on by while attestd is out of its reach.
const MethodHoldover = "holdover"

// HoldoverLabel begins what is signed of a Holdover, so that nothing else that is signed is one.
const HoldoverLabel = "attestd holdover v1\n"

// HoldoverRequest asks for the next Holdover. The answer waits until there is another than Number.
type HoldoverRequest struct {
	// Number of the one that the composer has; 0 for none.
	Number uint64 `json:"number"`
	// Part is the next that it wants of Number; 0 where it has all of it.
	Part int `json:"part,omitempty"`
}

// HoldoverAnswer answers it.
type HoldoverAnswer struct {
	// Off says that there is none and will be none: what the composer has, it drops.
	Off bool `json:"off,omitempty"`
	// Signed is over a Holdover, by the Ed25519 key Key.
	Signed Signed `json:"signed,omitzero"`
	Key    []byte `json:"key,omitempty"`
	// Now is attestd's clock while it answered: the composer's may be another.
	Now time.Time `json:"now,omitzero"`
}

// Holdover names every id that JWT-SVIDs may be issued to while attestd cannot be asked. What is
// not in it is not issued.
type Holdover struct {
	TrustDomain string `json:"trust_domain"`
	// Number rises with each. Parts are of one number, and are of use together alone.
	Number uint64 `json:"number"`
	Part   int    `json:"part"`
	Parts  int    `json:"parts"`
	// IssuedAt and ExpiresAt are by attestd's clock. Nothing that is issued by it outlives it.
	IssuedAt  time.Time `json:"issued_at"`
	ExpiresAt time.Time `json:"expires_at"`
	// Audiences get the claims that RiskClaims names; "*" is every one.
	Audiences  []string      `json:"audiences"`
	RiskClaims []string      `json:"risk_claims"`
	Rows       []HoldoverRow `json:"rows"`
}

// HoldoverRow is one id of a Holdover.
type HoldoverRow struct {
	ID string `json:"id"`
	// ExpiresAt (Unix seconds) is when a JWT-SVID of it must have ended, LivesSeconds how long one
	// lives at most.
	ExpiresAt    int64          `json:"expires_at"`
	LivesSeconds int64          `json:"lives_seconds"`
	Claims       map[string]any `json:"claims"`
}
