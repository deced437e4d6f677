package operator

import (
	"context"
	"errors"
	"time"
)

// Record is an operator as the registry keeps it. It holds nothing that could be handed in again. A
// record is never removed: its version outlives a revocation, so that certificates of an earlier life
// of the name stay ended when the name is given again.
type Record struct {
	Name    string
	Roles   []Role
	Tenants []string
	// Version is part of every certificate of the operator and rises when the name is given anew. A
	// certificate of another version is refused.
	Version uint64
	// By is who named the operator.
	By        string
	CreatedAt time.Time
	// RevokedAt ends everything of the operator; zero for in force.
	RevokedAt time.Time
	// Login is the SHA-256 of the secret of the one login token that is outstanding, LoginUntil its
	// end; both zero for none.
	Login      [32]byte
	LoginUntil time.Time
	// CertificateUntil is when the newest certificate ends; zero for none yet.
	CertificateUntil time.Time
	// Generation rises with every write and is what compare-and-swap compares; 0 is a row that is not
	// there yet.
	Generation uint64
}

// Change puts Next in place of the record of Next.Name, as a whole and durably or not at all, and with
// it an entry of the audit log: at At, by Actor known by Via, Action on target Next.Name, done, for
// tenant [AllTenants]. The registry sets Next.Generation to Expect+1.
type Change struct {
	Expect uint64
	Next   Record

	At         time.Time
	Actor, Via string
	Action     string // "operator.add", "operator.revoke" or "operator.login"
	Detail     map[string]string
}

// ErrMoved is returned by a [Store] where the record's generation is not Expect any more.
var ErrMoved = errors.New("the operator's record changed meanwhile")

// Store keeps the records. The registry is one.
type Store interface {
	// Operator returns the record of exactly that name, also a revoked one; false where there is none.
	Operator(ctx context.Context, name string) (Record, bool, error)
	// Operators returns all records in the order of their names.
	Operators(ctx context.Context) ([]Record, error)
	// PutOperator carries a change out. Errors: [ErrMoved]; or one for which [attestd.Class.Undecided]
	// holds, where the store cannot be written.
	PutOperator(ctx context.Context, change Change) error
}
