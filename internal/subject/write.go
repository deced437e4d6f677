package subject

import (
	"fmt"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
)

// Write is one step of the registry: all of it is carried out in one durable transaction, or none.
type Write struct {
	// Unbarred must hold no bar when it is carried out, save those of Lift; else it is a
	// [*BarredError]. It is the fence between a verdict and a quarantine that lands beside it.
	Unbarred []Key
	// Owned must still be as it was read: same generation, or still not there where it is 0.
	Owned []OwnershipExpect

	Subjects []SubjectWrite
	Bars     []BarWrite
	Owners   []OwnershipWrite
	// Token is used up; one that is unknown, used or expired refuses the whole write.
	Token *TokenUse
	// NewToken is stored.
	NewToken *Token

	History []Event
	// Audit is what the log takes up with it. A write that changes anything has a record.
	Audit []audit.Record
}

// SubjectWrite puts Next in place of the row of Next.ID. Expect is the generation that the decision
// was made upon, 0 for no row. The registry sets Next.Generation to Expect+1.
type SubjectWrite struct {
	Expect uint64
	Next   Subject
}

// BarWrite lays a bar (Next set) or lifts the one of Key (Next nil).
type BarWrite struct {
	Key    Key
	Expect uint64
	Next   *Bar
}

// OwnershipWrite puts Next in place of the row of its key; nil removes the row of Key.
type OwnershipWrite struct {
	Key    Key
	Expect uint64
	Next   *Ownership
}

// OwnershipExpect is an ownership that a decision rests on.
type OwnershipExpect struct {
	Key    Key
	Expect uint64
}

// TokenUse hands in a token.
type TokenUse struct {
	ID     string
	Secret [32]byte
	// By is the key of the machine.
	By Key
}

// Known is what the registry has about one machine and one name, read in one snapshot.
type Known struct {
	// Subject with the instance or the id asked for; nil for none.
	Subject *Subject
	// Bars on any of the keys asked for.
	Bars []Bar
	// Owners are the ownerships of the keys asked for, in that order; keys without one are left out.
	Owners []Ownership
}

// Ask names what to look up for [Known].
type Ask struct {
	// ID or Instance finds the subject; an empty one is not looked for.
	ID       ID
	Instance attestd.Handle
	// Bars and Owners are the keys to look up.
	Bars, Owners []Key
}

// MovedError says that what a write was decided upon has changed: decide again.
type MovedError struct{ What string }

// Error names what changed.
func (e *MovedError) Error() string { return e.What + " changed meanwhile" }

// BarredError says that a key is held.
type BarredError struct{ Bar Bar }

// Error names the key and the state, not the reason: callers see it.
func (e *BarredError) Error() string { return fmt.Sprintf("%s is %s", e.Bar.Key.Kind, e.Bar.State) }

// Class returns QUARANTINED or REVOKED_SUBJECT.
func (e *BarredError) Class() attestd.Class {
	if e.Bar.State == attestd.StateQuarantined {
		return attestd.ClassQuarantined
	}
	return attestd.ClassRevokedSubject
}

// Filter selects subjects, ownerships or bars. Tenants is what the asker may see and is never empty:
// "*" alone is everything. Empty fields select all.
type Filter struct {
	Tenants []string
	State   []attestd.State
	Tier    []attestd.Tier
	Format  attestd.Format
	Host    string
	Status  Status
	// Text is part of an id or label, taken literally.
	Text string
	// Overdue selects what was due before this time; zero selects all.
	Overdue time.Time
	// Signalled selects what has signals against it, whether they still count or not.
	Signalled bool
	// After is the id (or key) behind which the page begins, Limit its length, 1 to 1000.
	After string
	Limit int
}
