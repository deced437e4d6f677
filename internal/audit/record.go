package audit

import "time"

// Record is one entry of the log: who did what to what, and what came of it. It never holds evidence,
// a nonce, a token or a key.
type Record struct {
	At time.Time `json:"at"`
	// Actor is an operator's name, "attestd" for what it does itself, or "source:ADDRESS" for callers
	// without a name. Via says how the operator was known: "token", "certificate" or "local".
	Actor string `json:"actor"`
	Via   string `json:"via,omitempty"`
	// Tenant it is about; "*" for all.
	Tenant string `json:"tenant"`
	// Action as in "quarantine", "enroll.approve", "verify".
	Action string `json:"action"`
	Target string `json:"target,omitempty"`
	// Outcome is "done", "refused", "dry-run" or "failed"; Class is the class of a refusal.
	Outcome string `json:"outcome"`
	Class   string `json:"class,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Ticket  string `json:"ticket,omitempty"`
	// Detail holds a few short values by name.
	Detail map[string]string `json:"detail,omitempty"`
	// Count is how many alike were folded into this one, from At to Last; 0 and 1 are one.
	Count int       `json:"count,omitempty"`
	Last  time.Time `json:"last,omitzero"`
}
