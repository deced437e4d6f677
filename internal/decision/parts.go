package decision

import (
	"context"
	"time"

	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/subject"
)

// Identifier says who shows a credential.
type Identifier interface {
	// Identify verifies the credential, or finds that it was and that nothing changed since: epoch returns
	// the caller's epoch as of now, and what was verified under another one is verified again. It never
	// returns an error: a Who with a Fault is nobody. It returns when ctx ends.
	Identify(ctx context.Context, credential Credential, at time.Time, epoch func(subject.ID) uint64) Who
}

// Standings say how callers stand, from memory.
type Standings interface {
	Stands(id subject.ID, at time.Time) Standing
	// Sequence is the number of the last change of state that is in force. What is read after Sequence
	// returned n has every change up to n.
	Sequence() uint64
}

// Records are the inventory, in memory.
type Records interface {
	Record(id string) (*nhi.Record, bool)
}

// Watch has the limits and the detectors. Its methods must not wait.
type Watch interface {
	// Before looks at a question before policies do.
	Before(in *Input) Findings
	// After is told what was decided.
	After(in *Input, result *Result)
}

// Policies are those in force.
type Policies interface {
	// InForce returns the policies; nil where there are none.
	InForce() PolicySet
}

// Journal takes records of decisions. Keep must not wait: it returns an error where it cannot take one.
type Journal interface {
	Keep(answer *Answer) error
}

// Decider answers questions.
type Decider interface {
	// Decide never fails: what cannot be decided is denied, with the reason. It returns by the question's
	// deadline.
	Decide(ctx context.Context, ask Ask) Answer
}

// Introspector says how the holder of a credential stands, and decides nothing.
type Introspector interface {
	//
	// The code is of the first gate about the caller that is shut, its rate apart: no question of such a
	// caller would be allowed now, whatever it asks. Empty is none.
	Introspect(ctx context.Context, credential Credential) (*Input, Code)
}
