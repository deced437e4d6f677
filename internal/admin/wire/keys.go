package wire

import "time"

// Keys answers GET /v1/admin/keys.
type Keys struct {
	Schema string `json:"schema"` // attestd.keys.v1
	Keys   []Key  `json:"keys"`
}

// Key is a key that attestd signs with for others, without its private half.
type Key struct {
	ID string `json:"kid"`
	// Purpose is what it signs, as in "result".
	Purpose string `json:"purpose"`
	// State is "active", "next", "retiring", "retired" or "withdrawn".
	State string `json:"state"`
	// PublishedAt is since when others can know it, ActiveAt since when it signs, EndedAt since when it
	// does not, PublishedUntil until when others believe what it signed.
	PublishedAt    time.Time `json:"published_at"`
	ActiveAt       time.Time `json:"active_at,omitzero"`
	EndedAt        time.Time `json:"ended_at,omitzero"`
	PublishedUntil time.Time `json:"published_until,omitzero"`
	// Reason that it was withdrawn for.
	Reason string `json:"reason,omitempty"`
}

// KeyRotate is POST /v1/admin/keys/rotate.
type KeyRotate struct {
	Purpose string `json:"purpose"`
}

// KeyRotated answers it.
type KeyRotated struct {
	Schema string `json:"schema"` // attestd.key-rotated.v1
	// Active signs from now on, Next is published for the time after it, and Before signed until now.
	Active Key `json:"active"`
	Next   Key `json:"next"`
	Before Key `json:"before"`
}

// KeyCompromise is POST /v1/admin/keys/compromise.
type KeyCompromise struct {
	Purpose string `json:"purpose"`
	ID      string `json:"kid"`
	Reason  string `json:"reason"`
	// Since is from when on the list of what it signed begins; zero for all that is known.
	Since time.Time `json:"since,omitzero"`
}

// KeyCompromised answers it.
type KeyCompromised struct {
	Schema string `json:"schema"` // attestd.key-compromised.v1
	// Withdrawn are the keys that nobody believes any more, after BelievedUntil at the latest.
	Withdrawn     []Key     `json:"withdrawn"`
	BelievedUntil time.Time `json:"believed_until"`
	Active        Key       `json:"active"`
	Next          Key       `json:"next"`
	// Signed is what attestd itself signed with the key, the newest first; what else is shown to have
	// its signature is not attestd's. Total is how many there are.
	Signed []SignedToken `json:"signed"`
	Total  int           `json:"total"`
	// KnownSince is when the list can begin; zero where it is whole.
	KnownSince time.Time `json:"known_since,omitzero"`
}

// SignedToken is one token that attestd signed.
type SignedToken struct {
	ID string `json:"jti"`
	// Appraisal is the id of what it is about; empty for one that was not stored.
	Appraisal string    `json:"appraisal,omitempty"`
	At        time.Time `json:"at"`
	ExpiresAt time.Time `json:"expires_at"`
}
