// Package trail records the checks of one verification in the order in which they ran.
//
// What is true: a check that was recorded as passed has its row in the verifier's table; an error
// made here carries every check before it. What is not shown: that the verifier ran all its checks
// (the conformance suite does that).
package trail

import (
	"fmt"

	"github.com/attestd/attestd"
)

// Table holds a verifier's checks by id. It is made once and never changes.
type Table struct {
	specs map[attestd.CheckID]*attestd.CheckSpec
	// verified is how many of them a verification can record.
	verified int
}

// NewTable indexes specs. It panics on a double id: a table is written by programmers, not by users.
func NewTable(specs []attestd.CheckSpec) Table {
	table := Table{specs: make(map[attestd.CheckID]*attestd.CheckSpec, len(specs))}
	for _, spec := range specs {
		if _, double := table.specs[spec.ID]; double {
			panic(fmt.Sprintf("check %q stands twice in its table", spec.ID))
		}
		table.specs[spec.ID] = &spec
		if spec.Stage == attestd.StageVerify {
			table.verified++
		}
	}
	return table
}

// Class returns the class of the check's failure.
func (t Table) Class(id attestd.CheckID) attestd.Class { return t.spec(id).Class }

// spec panics on an unknown id, which is a bug; the recover at the edge of every verification turns
// it into INTERNAL, never into a pass.
func (t Table) spec(id attestd.CheckID) *attestd.CheckSpec {
	spec, ok := t.specs[id]
	if !ok {
		panic(fmt.Sprintf("check %q is not in the verifier's table", id))
	}
	return spec
}

// Trail records checks. It is for one verification and one goroutine.
type Trail struct {
	table  Table
	checks []attestd.Check
}

// New returns an empty trail for the verifier with that table.
func New(table Table) *Trail {
	return &Trail{table: table, checks: make([]attestd.Check, 0, table.verified)}
}

// Pass records that a check passed.
func (t *Trail) Pass(id attestd.CheckID, got, want string) {
	t.add(id, attestd.ResultPass, got, want)
}

// NotApplicable records that a check has no meaning for this evidence, and why.
func (t *Trail) NotApplicable(id attestd.CheckID, why string) {
	t.add(id, attestd.ResultNotApplicable, why, "")
}

// Reject records that a check failed and returns the error that ends the verification, with the
// class of the table.
func (t *Trail) Reject(id attestd.CheckID, got, want string, err error) *attestd.EvidenceError {
	return t.RejectAs(id, t.table.Class(id), got, want, err)
}

// RejectAs is Reject with a class other than the table's, for checks that can fail in more than one
// way.
func (t *Trail) RejectAs(
	id attestd.CheckID, class attestd.Class, got, want string, err error,
) *attestd.EvidenceError {
	spec := t.add(id, attestd.ResultFail, seen(got, err), want)
	return &attestd.EvidenceError{
		Check: id, Class: class, Got: got, Want: want, Spec: spec.Spec, Hint: spec.Hint,
		Checks: t.checks, Err: err,
	}
}

// Undecided records that a check could not be made and returns the error that ends the verification.
func (t *Trail) Undecided(
	id attestd.CheckID, class attestd.Class, got, want string, err error,
) *attestd.UndecidedError {
	spec := t.add(id, attestd.ResultFail, seen(got, err), want)
	return &attestd.UndecidedError{
		Check: id, Class: class, Got: got, Want: want, Spec: spec.Spec, Hint: spec.Hint,
		Checks: t.checks, Err: err,
	}
}

// seen is what a failed check got: where its author left that to the cause, the cause. A verdict has
// the checks and not the error, and without it nobody learns that a document was cut at byte 7.
func seen(got string, cause error) string {
	if got == "" && cause != nil {
		return attestd.Excerpt(cause.Error(), 200)
	}
	return got
}

// Checks returns the recorded checks; the trail must not be used afterwards.
func (t *Trail) Checks() []attestd.Check { return t.checks }

func (t *Trail) add(id attestd.CheckID, result attestd.Result, got, want string) *attestd.CheckSpec {
	spec := t.table.spec(id)
	t.checks = append(t.checks, attestd.Check{
		ID: id, Result: result, Got: got, Want: want, Spec: spec.Spec, Hint: spec.Hint,
	})
	return spec
}
