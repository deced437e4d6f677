package subject

import (
	"time"

	"github.com/attestd/attestd"
)

// Subject is one identity as the registry has it. The zero Subject is unknown and owns nothing.
type Subject struct {
	ID ID
	// Tenant follows from ownership, never from a request.
	Tenant string
	// Format of the evidence it comes with; empty for a name that was held before it was ever seen.
	Format attestd.Format
	// Instance is the hardware that is the subject; Value is empty for a name without one.
	Instance attestd.Handle
	// Boot and Host are the handles of the latest accepted evidence, empty where there were none.
	Boot, Host string
	// Ownership says how the machine is known to be the tenant's.
	Ownership Method

	State attestd.State
	// Generation rises with every write and is what compare-and-swap compares; 0 is a row that is not
	// there yet.
	Generation uint64
	// Epoch (risk_epoch) rises only where a decision can change: state, tier or risk.
	Epoch uint64
	// Floor is the risk of the latest authentic evidence; Signals are added to it and never subtracted.
	Floor   attestd.RiskScore
	Signals []Signal

	// AppraisalID and Evidence name the verdict and the evidence (SHA-256) that State stands on.
	AppraisalID string
	Evidence    [32]byte
	// Key is the SHA-256 of the SubjectPublicKeyInfo that the evidence bound; zero for none.
	Key [32]byte

	FirstSeenAt, EvidenceAt, ChangedAt time.Time
	// DueAt is when fresh evidence is due; zero for a name that never gave any.
	DueAt time.Time
	// Bad and Good count verdicts in a row, for hysteresis.
	Bad, Good int
	// Trail is what the next decision compares with; the registry keeps it as one JSON document.
	Trail Trail
}

// Trail is what is remembered of a machine to tell it from its copy. It is bounded.
type Trail struct {
	// Boots seen before the present one, newest first, at most 8.
	Boots []string `json:"boots,omitempty"`
	// Former is the key before the present one (SHA-256 of its SubjectPublicKeyInfo, in hex), within
	// the present boot.
	Former string `json:"former,omitempty"`
	// KeyChanges are the times of the latest changes of the key, oldest first, at most 3.
	KeyChanges []time.Time `json:"key_changes,omitempty"`
	// Clock is the furthest that the machine's TPM was seen at, with whatever key; nil for no TPM.
	Clock *Clock `json:"clock,omitempty"`
	// OwnedUntil is when the ownership that Tenant rests on ends; zero for never.
	OwnedUntil time.Time `json:"owned_until,omitzero"`
	// Bound says that accepted evidence once bound a key; it stays whatever comes later, also over a
	// release, so that nobody gets round the binding by leaving the key out.
	Bound bool `json:"bound,omitempty"`
	// Tickets of re-images that a release was given for, newest first, at most 8: none counts twice.
	Tickets []string `json:"tickets,omitempty"`
}

// Clock is how far a TPM had come. Milliseconds can be compared between quotes of any of its keys.
type Clock struct {
	Milliseconds uint64 `json:"milliseconds"`
	// Safe says that no later time was ever reported (TPM 2.0 Library, Part 1, section 36).
	Safe bool `json:"safe"`
	// Resets counts boots where Plain; else it has an offset that differs from key to key, and says
	// nothing about another key's.
	Resets uint32 `json:"resets"`
	Plain  bool   `json:"plain"`
	// At is when that was taken in.
	At time.Time `json:"at,omitzero"`
}

// Signal is something other than evidence that speaks against a subject.
type Signal struct {
	// Code names it, as in "overdue" or "clone"; the list is in [Codes].
	Code Code `json:"code"`
	// Group is the root cause: within a group only the most points count.
	Group  attestd.Group `json:"group"`
	Points int           `json:"points"`
	Detail string        `json:"detail"`
	// Source says who reported it: "attestd", or the name of an enforcement point.
	Source string    `json:"source"`
	At     time.Time `json:"at"`
	// Until is when it no longer counts; zero for until fresh evidence or a person ends it.
	Until time.Time `json:"until,omitzero"`
	// Fade is after how long half of the points are left, in nanoseconds; 0 for all of them until Until.
	Fade time.Duration `json:"fade,omitzero"`
	// Halved is how many halvings the row was written with.
	Halved int `json:"halved,omitzero"`
}

// BarKind says what a bar holds.
type BarKind string

// What can be barred. A host is shared: it is barred only where somebody asks for it.
const (
	BarSubject  BarKind = "subject"
	BarInstance BarKind = "instance"
	BarBoot     BarKind = "boot"
	BarHost     BarKind = "host"
)

// Key names something that can be barred or owned. Kind is a [BarKind] or an owner's kind such as
// "gce-project"; Value is as the verifier states it. For subjects the value is [ID.Fold].
type Key struct {
	Kind  string `json:"kind"`
	Value string `json:"value"`
}

// String returns "kind:value".
func (k Key) String() string { return k.Kind + ":" + k.Value }

// Bar is a hold: what has this key gets no grant, no verdict and no identity. It outlives the subject
// it was laid on.
type Bar struct {
	Key Key
	// State is quarantined, or revoked, which is never lifted.
	State attestd.State
	// Subject that it was laid on, empty where it was laid on hardware alone.
	Subject ID
	// Tenant whose bar it is, and who may see and lift it; "*" for a bar on what tenants share.
	Tenant string
	Code   Code
	// Text and Ticket are what the person said.
	Text, Ticket string
	// By is who laid it; Automatic says that attestd did, on the code's grounds.
	By        string
	Automatic bool
	At        time.Time
	// Boot is the boot handle seen last when the bar was laid. A release needs another one.
	Boot string
	// Generation is for compare-and-swap.
	Generation uint64
}

// Event is one line of a subject's history.
type Event struct {
	Number   int64
	ID       ID
	Tenant   string
	At       time.Time
	Kind     string // a name from [EventKinds]
	From, To attestd.State
	Risk     attestd.RiskScore
	Epoch    uint64
	// Actor is who did it: an operator's name, "attestd", or "evidence".
	Actor       string
	Detail      string
	AppraisalID string
}
