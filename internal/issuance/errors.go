package issuance

import (
	"errors"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/registry/live"
)

// Rejected says that evidence was judged and not accepted. The appraisal has the reasons.
type Rejected struct{ AppraisalID string }

// Error names the appraisal, and no reason: who may read those asks for it.
func (e *Rejected) Error() string { return "evidence was rejected: appraisal " + e.AppraisalID }

// refusal says that a subject is granted nothing, in words that name its state and not the grounds.
func refusal(standing live.Standing) error {
	who := attestd.Excerpt(string(standing.ID), 200)
	out := &attestd.CallerError{
		Class: attestd.ClassPolicyDeny, Hint: "attestd why " + who,
		Err: fmt.Errorf("nothing is issued: %s is %s", who, standing.State),
	}
	switch standing.State {
	case attestd.StateQuarantined:
		out.Class = attestd.ClassQuarantined
	case attestd.StateRevoked:
		out.Class = attestd.ClassRevokedSubject
	}
	return out
}

// denied is a refusal by what is configured.
func denied(hint, format string, args ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassPolicyDeny, Hint: hint, Err: fmt.Errorf(format, args...),
	}
}

func malformed(hint, format string, args ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassMalformed, Hint: hint, Err: fmt.Errorf(format, args...),
	}
}

// undecided says that attestd cannot tell now.
func undecided(check attestd.CheckID, got string, err error) error {
	var already *attestd.UndecidedError
	if errors.As(err, &already) {
		return err
	}
	return &attestd.UndecidedError{
		Check: check, Class: attestd.ClassStoreUnavailable, Got: got,
		Want: "an answer by attestd's own parts", Hint: "try again; if it lasts, see attestd status",
		Err: err,
	}
}
