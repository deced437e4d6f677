package subject

import (
	"slices"

	"github.com/attestd/attestd"
)

// Move is what happens to a subject, as the table of transitions knows it.
type Move string

// Moves.
const (
	// MoveAccepted: authentic and fresh evidence that the policy accepts, of a machine that is
	// somebody's, with no signal against it that makes its risk high.
	MoveAccepted Move = "accepted"
	// MoveWavering: the same, but not yet often enough in a row for a suspect to be trusted again.
	MoveWavering Move = "wavering"
	// MoveRejected: authentic and fresh evidence that the policy rejects.
	MoveRejected Move = "rejected"
	// MoveDoubted: signals make the risk high, or the machine is nobody's any more.
	MoveDoubted Move = "doubted"
	// MoveOverdue: fresh evidence is late, and the grace is over.
	MoveOverdue Move = "overdue"
	// MoveQuarantine, MoveRelease and MoveRevoke are a person's acts, and MoveQuarantine attestd's own.
	MoveQuarantine Move = "quarantine"
	MoveRelease    Move = "release"
	MoveRevoke     Move = "revoke"
)

// Moves lists the moves there are.
func Moves() []Move {
	return []Move{
		MoveAccepted, MoveWavering, MoveRejected, MoveDoubted, MoveOverdue,
		MoveQuarantine, MoveRelease, MoveRevoke,
	}
}

// Transition is one row of the table.
type Transition struct {
	From attestd.State
	Move Move
	To   attestd.State
}

// table is every transition there is: what is not in it is refused. Nothing but a release leads out
// of quarantine, and it leads to suspect: only evidence makes a subject trusted. Nothing leads out of
// revoked.
var table = func() []Transition {
	const (
		unknown     = attestd.StateUnknown
		trusted     = attestd.StateTrusted
		suspect     = attestd.StateSuspect
		quarantined = attestd.StateQuarantined
		revoked     = attestd.StateRevoked
	)
	return []Transition{
		{unknown, MoveAccepted, trusted},
		{unknown, MoveRejected, unknown},
		{unknown, MoveDoubted, suspect},
		{unknown, MoveQuarantine, quarantined},
		{unknown, MoveRevoke, revoked},

		{trusted, MoveAccepted, trusted},
		{trusted, MoveRejected, suspect},
		{trusted, MoveDoubted, suspect},
		{trusted, MoveOverdue, suspect},
		{trusted, MoveQuarantine, quarantined},
		{trusted, MoveRevoke, revoked},

		{suspect, MoveAccepted, trusted},
		{suspect, MoveWavering, suspect},
		{suspect, MoveRejected, suspect},
		{suspect, MoveDoubted, suspect},
		{suspect, MoveOverdue, suspect},
		{suspect, MoveQuarantine, quarantined},
		{suspect, MoveRevoke, revoked},

		{quarantined, MoveAccepted, quarantined},
		{quarantined, MoveWavering, quarantined},
		{quarantined, MoveRejected, quarantined},
		{quarantined, MoveDoubted, quarantined},
		{quarantined, MoveOverdue, quarantined},
		{quarantined, MoveQuarantine, quarantined},
		{quarantined, MoveRelease, suspect},
		{quarantined, MoveRevoke, revoked},

		{revoked, MoveAccepted, revoked},
		{revoked, MoveWavering, revoked},
		{revoked, MoveRejected, revoked},
		{revoked, MoveDoubted, revoked},
		{revoked, MoveOverdue, revoked},
		{revoked, MoveQuarantine, revoked},
		{revoked, MoveRevoke, revoked},
	}
}()

// Transitions returns the table.
func Transitions() []Transition { return slices.Clone(table) }

// Next returns the state that the move leads to, and whether the table has it. Where it has not, the
// state is [attestd.StateUnknown], which grants nothing.
func Next(from attestd.State, move Move) (attestd.State, bool) {
	for _, row := range table {
		if row.From == from && row.Move == move {
			return row.To, true
		}
	}
	return attestd.StateUnknown, false
}

// Barred reports whether the state is one that a bar makes.
func Barred(state attestd.State) bool {
	return state == attestd.StateQuarantined || state == attestd.StateRevoked
}

// Kinds of events in a subject's history.
const (
	EventFirstSeen   = "first-seen"
	EventEvidence    = "evidence"
	EventSignal      = "signal"
	EventOverdue     = "overdue"
	EventQuarantined = "quarantined"
	EventReleased    = "released"
	EventRevoked     = "revoked"
	EventTenant      = "tenant"
)

// EventKinds lists the kinds of events.
func EventKinds() []string {
	return []string{
		EventFirstSeen, EventEvidence, EventSignal, EventOverdue, EventQuarantined, EventReleased,
		EventRevoked, EventTenant,
	}
}
